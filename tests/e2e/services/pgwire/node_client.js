// SPDX-License-Identifier: Apache-2.0
// node's pg: simple and extended protocol, named statements, a pool, errors.
const { Client, Pool } = require("pg");

async function main() {
  const c = new Client();
  c.on("notification", (m) => console.log(m.payload));
  await c.connect();
  console.log((await c.query("SELECT 'secret' AS a")).rows);
  console.log((await c.query("SELECT relname FROM pg_class WHERE relname = $1", ["pg_type"])).rows);
  for (const v of [1, 2, 3])
    console.log((await c.query({ name: "twice", text: "SELECT 2 * $1::int AS d", values: [v] })).rows);
  for (const wrong of ["SELECT 1/0", "SELECT nonsense", "this is no sql"])
    await c.query(wrong).catch((e) => console.log(e.code));
  await c.query("SELECT 1/$1::int", [0]).catch((e) => console.log(e.code));
  await c.query("BEGIN");
  await c.query("CREATE TEMP TABLE tn (a int)");
  await c.query("INSERT INTO tn SELECT generate_series(1, $1::int)", [100]);
  console.log((await c.query("UPDATE tn SET a = a + 1")).rowCount);
  await c.query("COMMIT");
  await c.query("LISTEN news; NOTIFY news, 'hello'");
  console.log((await c.query("SELECT repeat('x', 300000) AS big")).rows[0].big.length);
  await c.query(Array.from({ length: 3 }, (_, i) => `SELECT ${i}`).join(";"));
  await c.end();

  const pool = new Pool({ max: 1 });
  for (let i = 0; i < 3; i++) await pool.query("SELECT $1::text", [String(i)]);
  await pool.end();
}

main().catch((e) => { console.error(e); process.exit(1); });
