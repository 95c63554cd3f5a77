# SPDX-License-Identifier: Apache-2.0
"""psycopg2: what a program does with it."""
import io
import select

import psycopg2
import psycopg2.extras
import psycopg2.extensions

c = psycopg2.connect("")
k = c.cursor()


def attempt(*what):
    try:
        k.execute(*what)
        print(k.statusmessage, k.rowcount, k.fetchall() if k.description else None)
    except psycopg2.Error as e:
        print(type(e).__name__, e.pgcode, str(e).splitlines()[0])
        c.rollback()


attempt("CREATE TABLE t (id serial PRIMARY KEY, a int, b text)")
c.commit()
attempt("INSERT INTO t (a, b) VALUES (%s, %s), (%s, %s) RETURNING id", (1, "it's", 2, None))
attempt("SELECT * FROM t WHERE b = %(b)s", {"b": "it's"})
attempt("SELECT 1/0")
c.commit()
attempt("SELECT nonsense")
attempt("")
k.executemany("INSERT INTO t (a) VALUES (%s)", [(i,) for i in range(5)])
c.rollback()
psycopg2.extras.execute_values(k := c.cursor(), "INSERT INTO t (a, b) VALUES %s", [(3, "x"), (4, "y")])
psycopg2.extras.execute_batch(k, "INSERT INTO t (a) VALUES (%s)", [(i,) for i in range(4)], page_size=3)
c.commit()
k.copy_from(io.StringIO("10\tten\n11\televen\n"), "t", columns=("a", "b"))
k.copy_expert("COPY (SELECT a, b FROM t ORDER BY id) TO STDOUT WITH CSV", out := io.StringIO())
print(out.getvalue())
try:
    k.copy_expert("COPY t (a) FROM STDIN", io.StringIO("no number\n"))
except psycopg2.Error as e:
    print(e.pgcode)
c.rollback()
with c, c.cursor("named") as n:
    n.itersize = 2
    n.execute("SELECT a FROM t WHERE a IS NOT NULL ORDER BY id")
    print(list(n))
with c, c.cursor() as k:
    k.execute("DO $$ BEGIN RAISE NOTICE 'note %', 1; END $$")
    k.execute("SELECT 1; SELECT 2 AS two")
    print(k.fetchall(), c.notices)
    k.callproc("lower", ["LOUD"])
    print(k.fetchall())
    print(k.mogrify("SELECT %s", ("x",)))
c.autocommit = True
k = c.cursor()
attempt("LISTEN news")
attempt("NOTIFY news, 'hello'")
c.poll()
print([(n.channel, n.payload) for n in c.notifies])
attempt("SET standard_conforming_strings = off")
attempt("SELECT 'it\\'s'")
c.set_session(isolation_level="SERIALIZABLE", readonly=True, autocommit=False)
attempt("INSERT INTO t (a) VALUES (1)")
attempt("SELECT count(*) FROM t")
c.commit()
c.set_session(readonly=False)
lo = c.lobject(0, "wb", 4711)
print(lo.write(b"a large object"), lo.close())
print(c.lobject(4711, "rb").read())
c.commit()
c.close()

c = psycopg2.connect("", async_=1)


def wait():
    while (state := c.poll()) != psycopg2.extensions.POLL_OK:
        select.select(*[[c] if state == s else [] for s in (1, 2)], [], 5)


wait()
k = c.cursor()
for sql in ("SELECT 42", "SELECT generate_series(1, 3) AS n", "SELECT a FROM t WHERE a = 10"):
    k.execute(sql)
    wait()
    print(k.fetchall())
k.execute("SELECT 1/0")
try:
    wait()
except psycopg2.Error as e:
    print(e.pgcode)
c.close()
