# SPDX-License-Identifier: Apache-2.0
"""pg8000: extended protocol, a Sync behind every step, COPY, errors, named statements."""
import io
import os

import pg8000.dbapi
import pg8000.native

e = os.environ
how = {"user": e["PGUSER"], "host": e["PGHOST"], "port": int(e["PGPORT"]),
       "database": e["PGDATABASE"]}
c = pg8000.native.Connection(**how)
print(c.run("SELECT 1"))
print(c.run("SELECT relname FROM pg_class WHERE relname = :n", n="pg_type"))
c.run("START TRANSACTION")
c.run("CREATE TEMP TABLE t8 (a int, b text)")
for i in range(3):
    c.run("INSERT INTO t8 VALUES (:a, :b)", a=i, b="secret")
print(c.run("UPDATE t8 SET a = a + 1 WHERE a > 0 RETURNING a"))
c.run("COMMIT")
for wrong in ("SELECT 1/0", "SELECT nonsense", "this is no sql"):
    try:
        c.run(wrong)
    except pg8000.native.DatabaseError as error:
        print(error.args[0]["C"])
c.run("COPY t8 FROM STDIN", stream=io.BytesIO(b"7\tseven\n8\teight\n"))
out = io.BytesIO()
c.run("COPY t8 TO STDOUT", stream=out)
print(len(out.getvalue()))
ps = c.prepare("SELECT a FROM t8 WHERE a = :v")
for v in (7, 8, 9):
    print(ps.run(v=v))
ps.close()
c.close()
d = pg8000.dbapi.connect(**how)
k = d.cursor()
k.execute("SELECT b FROM (VALUES (%s)) AS v (b)", ("x" * 100000,))
print(len(k.fetchone()[0]))
k.executemany("SELECT %s::int", [(1,), (2,)])
d.rollback()
d.close()
