<?php
// SPDX-License-Identifier: Apache-2.0
// The pgsql extension: what a program does with it.
error_reporting(E_ALL & ~E_WARNING & ~E_NOTICE);
$c = pg_connect("");
function told(...$what) { echo json_encode($what), "\n"; }
function rows($r) { global $c; $r ? told(pg_fetch_all($r), pg_affected_rows($r)) : told(explode("\n", pg_last_error($c))[0]); }

rows(pg_query($c, "CREATE TABLE t (id serial PRIMARY KEY, a int, b text)"));
rows(pg_query($c, "INSERT INTO t (a, b) VALUES (1, 'it''s'), (2, NULL)"));
rows(pg_query_params($c, 'SELECT b FROM t WHERE a = $1 AND b <> $2', [1, "x"]));
rows(pg_query_params($c, 'SELECT $1::int', ["no number"]));
rows(pg_query($c, "SELECT 1/0"));
rows(pg_query($c, "SELECT nonsense"));
rows(pg_query($c, "SELECT 1; SELECT 2 AS two"));
rows(pg_prepare($c, "by a", 'SELECT b FROM t WHERE a = $1'));
rows(pg_execute($c, "by a", [1]));
rows(pg_execute($c, "by a", [2]));
rows(pg_execute($c, "by b", [2]));
rows(pg_prepare($c, "bad", 'SELECT nonsense'));
pg_send_query($c, "SELECT 1 AS a; SELECT 2 AS b; SELECT 1/0");
while ($r = pg_get_result($c)) told(pg_fetch_all($r), pg_result_error_field($r, PGSQL_DIAG_SQLSTATE));
pg_send_query_params($c, 'SELECT $1::text', ["sent"]);
while ($r = pg_get_result($c)) rows($r);
pg_send_prepare($c, "sent", 'SELECT $1::int + 1');
while ($r = pg_get_result($c)) told(pg_result_status($r));
pg_send_execute($c, "sent", [41]);
while ($r = pg_get_result($c)) rows($r);
told(pg_insert($c, "t", ["a" => 5, "b" => "five"], PGSQL_DML_EXEC));
told(pg_select($c, "t", ["a" => "5"]));
told(pg_copy_from($c, "t", ["20\t10\tten\n", "21\t11\televen\n"]));
told(pg_copy_to($c, "t"));
told(pg_copy_from($c, "t", ["x\ty\tz\n"]));
rows(pg_query($c, "BEGIN"));
$lo = pg_lo_create($c, 4711);
$h = pg_lo_open($c, 4711, "w");
told($lo, pg_lo_write($h, "a large object"), pg_lo_close($h));
rows(pg_query($c, "COMMIT"));
rows(pg_query($c, "LISTEN news"));
rows(pg_query($c, "NOTIFY news, 'hello'"));
told(pg_get_notify($c)["payload"]);
rows(pg_query($c, "DO \$\$ BEGIN RAISE NOTICE 'note'; END \$\$"));
told(pg_last_notice($c));
pg_close($c);
