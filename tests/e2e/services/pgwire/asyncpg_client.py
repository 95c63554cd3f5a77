# SPDX-License-Identifier: Apache-2.0
"""asyncpg: an event loop, named statements, pipelined executions, cursors, COPY, LISTEN."""
import asyncio
import os

import asyncpg


async def main():
    e = os.environ
    c = await asyncpg.connect(user=e["PGUSER"], host=e["PGHOST"], port=int(e["PGPORT"]),
                              database=e["PGDATABASE"], ssl="prefer")
    print(await c.fetchval("SELECT 40 + $1::int", 2))
    await c.execute("CREATE TEMP TABLE ta (a int, b text)")
    await c.executemany("INSERT INTO ta VALUES ($1, $2)", [(i, "secret") for i in range(50)])
    print(await c.fetchval("SELECT count(*) FROM ta"))
    for wrong, args in (("SELECT 1/$1::int", (0,)), ("SELECT nonsense", ()),
                        ("this is no sql", ())):
        try:
            await c.fetch(wrong, *args)
        except asyncpg.PostgresError as error:
            print(error.sqlstate)
    try:
        async with c.transaction():
            await c.execute("UPDATE ta SET a = a + 1")
            await c.fetch("SELECT 1/$1::int", 0)
    except asyncpg.DivisionByZeroError as error:
        print(error.sqlstate)
    async with c.transaction():
        n = 0
        async for _ in c.cursor("SELECT a FROM ta WHERE a < $1", 45, prefetch=20):
            n += 1
        print(n)
    print(await c.copy_records_to_table("ta", records=[(i, "copied") for i in range(1000)]))
    print(await c.copy_from_query("SELECT * FROM ta", output=os.devnull))
    got = asyncio.get_running_loop().create_future()
    await c.add_listener("news", lambda *a: got.set_result(a[3]))
    await c.execute("NOTIFY news, 'hello'")
    print(await asyncio.wait_for(got, 10))
    await c.execute("SELECT 1; SELECT 2; SELECT 'three'")
    await c.close()


asyncio.run(main())
