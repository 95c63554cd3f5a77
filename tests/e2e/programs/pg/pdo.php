<?php
// SPDX-License-Identifier: Apache-2.0
// PDO with pgsql: what a program does with it.
$d = new PDO("pgsql:", null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
function told(...$what) { echo json_encode($what), "\n"; }
function attempt($what) {
	try { told($what()); } catch (PDOException $e) { told($e->getCode(), explode("\n", $e->getMessage())[0]); }
}

attempt(fn() => $d->exec("CREATE TABLE t (id serial PRIMARY KEY, a int, b text)"));
attempt(fn() => $d->exec("INSERT INTO t (a, b) VALUES (1, 'it''s'), (2, NULL)"));
attempt(fn() => $d->query("SELECT a, b FROM t ORDER BY a")->fetchAll(PDO::FETCH_ASSOC));
$s = $d->prepare("SELECT b FROM t WHERE a = :a");
foreach ([1, 2, 3] as $a) { $s->execute(["a" => $a]); told($s->fetchAll()); }
$i = $d->prepare("INSERT INTO t (a, b) VALUES (?, ?)");
foreach ([[3, "three"], [4, null], ["no number", ""]] as $row) attempt(fn() => $i->execute($row));
attempt(fn() => $d->query("SELECT 1/0"));
attempt(fn() => $d->query("SELECT nonsense"));
$n = null;
attempt(fn() => $d->prepare("SELECT nonsense WHERE 1 = ?")->execute([1]));
$d->beginTransaction();
attempt(fn() => $d->exec("DELETE FROM t WHERE a = 3"));
$d->rollBack();
$d->beginTransaction();
attempt(fn() => $d->exec("UPDATE t SET a = a + 1"));
attempt(fn() => $d->lastInsertId());
$d->commit();
$e = $d->prepare("SELECT ? || b FROM t WHERE b = ?", [PDO::ATTR_EMULATE_PREPARES => true]);
$e->execute(["x", "it's"]);
told($e->fetchAll(PDO::FETCH_NUM));
$q = $d->prepare("SELECT ?::int + ?::int", [PDO::PGSQL_ATTR_DISABLE_PREPARES => true]);
$q->execute([1, 2]);
told($q->fetchColumn());
$c = $d->prepare("SELECT a FROM t ORDER BY a", [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
$d->beginTransaction();
$c->execute();
told($c->fetch(PDO::FETCH_NUM), $c->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_LAST));
$c = null;
$d->commit();
told($d->pgsqlCopyFromArray("t", ["20\t10\tten", "21\t11\televen"]));
told($d->pgsqlCopyToArray("t"));
$s = $i = $e = $q = null;
$d = null;
