-- SPDX-License-Identifier: Apache-2.0
-- psql: everything it can ask a server for, and everything a server can answer.
\set VERBOSITY default
CREATE TABLE people (id serial PRIMARY KEY, name text NOT NULL, born date, pay numeric(10,2) DEFAULT 0 CHECK (pay >= 0));
CREATE TABLE orders (id int PRIMARY KEY, who int REFERENCES people, what text, at timestamptz DEFAULT '2024-01-01 00:00+00');
CREATE UNIQUE INDEX people_name ON people (lower(name));
CREATE INDEX ON orders (who) WHERE what IS NOT NULL;
CREATE VIEW paid AS SELECT name, pay FROM people WHERE pay > 10;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM people;
CREATE SEQUENCE ticks MINVALUE 0 START 0;
CREATE SCHEMA other;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT $1 * 2 $$;
CREATE FUNCTION atomic(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT i; SELECT i + 1; END;
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
	RAISE NOTICE 'trigger %: %', TG_OP, NEW.name;
	RETURN NEW;
END;
$body$;
CREATE TRIGGER shouting BEFORE INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION shout();
CREATE PROCEDURE raise_pay(who text, by numeric) LANGUAGE plpgsql AS $$ BEGIN UPDATE people SET pay = pay + by WHERE name = who; END $$;
CREATE RULE quiet AS ON DELETE TO paid DO INSTEAD NOTHING;
COMMENT ON TABLE people IS 'who; works -- here';
ALTER TABLE people ADD COLUMN feels mood DEFAULT 'ok';
ALTER TABLE people ALTER COLUMN feels SET NOT NULL;
INSERT INTO people (name, born, pay) VALUES ('Ada', '1815-12-10', 12.50), ('Bob', '1970-01-01', 3), ('O''Hara', NULL, 0);
INSERT INTO people (name) VALUES ('Grace') RETURNING id, name;
INSERT INTO people (name) SELECT 'n' || i FROM generate_series(1, 5) AS i;
INSERT INTO people (name) VALUES ('ada') ON CONFLICT DO NOTHING;
INSERT INTO people (name) VALUES ('ADA') ON CONFLICT (lower(name)) DO UPDATE SET pay = people.pay + 1 RETURNING pay;
INSERT INTO orders VALUES (1, 1, 'tea'), (2, 1, NULL), (3, 2, E'a\tb\\c');
-- reading
SELECT 1;
SELECT 1 AS one, 'two' AS two, NULL AS three, true AS four, -1.5e3 AS five;
SELECT;
VALUES (1, 'a'), (2, 'b');
TABLE orders;
SELECT * FROM people ORDER BY id;
SELECT p.name, o.what FROM people p LEFT JOIN orders o ON o.who = p.id ORDER BY p.id, o.id;
SELECT count(*), sum(pay) FROM people WHERE name LIKE 'n%';
SELECT name FROM people WHERE born IS NOT NULL UNION SELECT what FROM orders WHERE what <> '' ORDER BY 1;
(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 DESC;
WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t;
WITH gone AS (DELETE FROM people WHERE name = 'n5' RETURNING *) SELECT name FROM gone;
SELECT $$dollar 'quoted' -- no comment$$, $tag$ $$ /* $tag$;
SELECT E'\'', U&'\0041', B'101', X'1F', 'a'
'b';
SELECT /* a comment */ 1 -- another
;
/* before */ SELECT 2;
SELECT '/* none */', '-- none';
SELECT ARRAY[1,2,3][2:3], ROW(1,'x')::pair, '{"a": [1, {"b": null}]}'::jsonb #> '{a,1}';
SELECT "name" AS "Na""me" FROM "people" LIMIT 1;
SELECT 1 \; SELECT 2 \; SELECT 3;
SELECT 1; SELECT 2; SELECT 3;
SELECT generate_series(1, 3) AS "many rows";
SELECT twice(21), atomic(1);
SELECT relname FROM pg_class WHERE relname = 'people';
SELECT 'größe', '日本語', U&'\+01F600';
SELECT repeat('x', 100) AS long;
EXPLAIN (COSTS OFF) SELECT * FROM people WHERE id = 1;
EXPLAIN (COSTS OFF, TIMING OFF, SUMMARY OFF, ANALYZE) SELECT 1;
SHOW server_version_num;
SHOW search_path;
SELECT current_setting('standard_conforming_strings');
-- changing
UPDATE people SET pay = pay * 1.1 WHERE id = 1;
UPDATE people SET feels = 'happy' WHERE name = 'Bob' RETURNING feels;
UPDATE orders SET what = 'none' WHERE false;
DELETE FROM orders WHERE id = 3;
DELETE FROM paid;
MERGE INTO orders USING (VALUES (1, 'coffee'), (9, 'milk')) v(i, w) ON id = i WHEN MATCHED THEN UPDATE SET what = w WHEN NOT MATCHED THEN INSERT VALUES (i, 1, w);
CALL raise_pay('Ada', 5);
REFRESH MATERIALIZED VIEW totals;
SELECT * FROM totals;
TRUNCATE orders;
ANALYZE people;
VACUUM people;
REINDEX TABLE people;
CLUSTER people USING people_pkey;
GRANT SELECT ON people TO PUBLIC;
REVOKE SELECT ON people FROM PUBLIC;
LOCK TABLE people;
-- errors, one of each kind
SELECT 1/0;
SELECT nonsense;
SELECT * FROM nowhere;
SELEC 1;
SELECT (1;);
SELECT 'x'::int;
SELECT f(1);
INSERT INTO people (name) VALUES (NULL);
INSERT INTO people (id, name) VALUES (1, 'twice');
INSERT INTO orders VALUES (5, 999, 'nobody');
INSERT INTO people (name, pay) VALUES ('poor', -1);
SELECT 200::small;
SELECT 'furious'::mood;
CREATE TABLE people ();
DROP TABLE nowhere;
DROP TABLE IF EXISTS nowhere;
SELECT 1,
	2,
	nonsense,
	4;
\echo :SQLSTATE :ERROR :ROW_COUNT :LAST_ERROR_MESSAGE
\errverbose
SELECT * FROM people WHERE id = 'x';
SELECT pg_sleep('a');
SELECT no_such_function('a', 1.5);
SET nonsense = 1;
RESET nonsense;
SELECT lo_unlink(4242);
DO $$ BEGIN RAISE EXCEPTION 'own %', 1 USING ERRCODE = 'P0042', DETAIL = 'a detail', HINT = 'a hint'; END $$;
-- notices and warnings
DO $$ BEGIN RAISE NOTICE 'a notice'; RAISE WARNING 'a warning'; RAISE INFO 'information'; END $$;
DO LANGUAGE plpgsql $$ DECLARE i int; BEGIN FOR i IN 1..3 LOOP RAISE NOTICE '%', i; END LOOP; END $$;
COMMIT;
ROLLBACK;
SET client_min_messages = warning;
DROP TABLE IF EXISTS nowhere;
CREATE TEMP TABLE noisy (id serial PRIMARY KEY);
SET client_min_messages = notice;
-- transactions
BEGIN;
INSERT INTO orders VALUES (10, 1, 'in a transaction');
SAVEPOINT a;
INSERT INTO orders VALUES (10, 1, 'again');
SELECT 1;
ROLLBACK TO SAVEPOINT a;
SELECT count(*) FROM orders;
RELEASE SAVEPOINT a;
COMMIT AND CHAIN;
SELECT 1;
ROLLBACK;
START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY;
INSERT INTO orders VALUES (11);
END;
BEGIN;
SELECT 1/0;
SELECT 1;
COMMIT;
BEGIN;
SET LOCAL search_path = other;
SHOW search_path;
ABORT;
\set AUTOCOMMIT off
INSERT INTO orders VALUES (12, 1, 'autocommit off');
SELECT count(*) FROM orders;
ROLLBACK;
\set AUTOCOMMIT on
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT 1/0;
SELECT 'still alive';
COMMIT;
\set ON_ERROR_ROLLBACK off
-- cursors
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id, name FROM people ORDER BY id;
FETCH 2 FROM c;
FETCH FORWARD ALL FROM c;
MOVE ABSOLUTE 0 IN c;
FETCH NEXT FROM c;
FETCH BACKWARD 1 FROM c;
CLOSE c;
FETCH c;
ROLLBACK;
\set FETCH_COUNT 3
SELECT name FROM people ORDER BY id;
SELECT 1/(3 - i) FROM generate_series(1, 5) i;
\unset FETCH_COUNT
-- prepared statements
PREPARE by_id (int) AS SELECT name FROM people WHERE id = $1;
EXECUTE by_id(1);
EXECUTE by_id(2);
EXECUTE by_id('x');
EXECUTE never(1);
DEALLOCATE by_id;
DEALLOCATE ALL;
-- COPY
COPY people (id, name) TO STDOUT;
COPY (SELECT name, born FROM people WHERE born IS NOT NULL) TO STDOUT WITH (FORMAT csv, HEADER);
COPY orders (id, who, what) FROM STDIN;
20	1	from standard input
21	2	\N
22	1	a\tb
\.
COPY orders (id, what) FROM STDIN WITH (FORMAT csv);
23,"a ""quoted"", one"
24,
\.
COPY orders FROM STDIN;
not a number
\.
COPY nowhere FROM STDIN;
COPY orders (id, who) FROM STDIN;
30	999
\.
COPY (SELECT 1/(2 - i) FROM generate_series(1, 3) i) TO STDOUT;
SELECT id, what FROM orders ORDER BY id;
\copy (SELECT id FROM orders ORDER BY id) to 'copied'
\copy orders (id) from 'more'
\copy nowhere from 'more'
-- psql's own
SELECT 1 AS a, 'x'::text AS b, now() AS c \gdesc
SELECT $1::int + 1 AS typed \gdesc
SELECT nonsense \gdesc
SELECT 'SELECT ' || i AS q, 'SELECT -' || i FROM generate_series(1, 2) i \gexec
SELECT 'SELECT nonsense', 'SELECT 3' \gexec
SELECT 5 AS five, 'six' AS six \gset
SELECT :five, :'six', :"six" FROM (SELECT 1 AS six) t;
SELECT 1 AS x \gx
SELECT i AS row, j AS col, i * j AS v FROM generate_series(1, 2) i, generate_series(1, 2) j \crosstabview
SELECT 1/(3 - nextval('ticks')) AS tick \watch 0.01
SELECT 'to a file' \g written
SELECT 'to a program' \g |cat
\d people
\d+ paid
\dt
\df twice
\dn
\l nowhere
\sf twice
\sv paid
\du nobody
\if true
SELECT 'if';
\else
SELECT 'else';
\endif
\i included
\set name 'people'
SELECT count(*) FROM :name;
\pset format csv
SELECT 1 AS a, 'b,c' AS b;
\pset format aligned
-- notifications
LISTEN news;
NOTIFY news, 'hello';
SELECT pg_notify('news', 'again');
UNLISTEN news;
NOTIFY news;
-- large objects
\lo_import more 'a comment'
\lo_export :LASTOID exported
\lo_unlink :LASTOID
\lo_unlink 4242
SELECT lo_from_bytea(4711, 'abc'), lo_get(4711), lo_unlink(4711);
-- settings that change the rules
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SELECT 'it\'s', '\\';
SET standard_conforming_strings = on;
SELECT 'it\';
SET client_encoding = 'LATIN1';
SELECT length('\xe4');
SET client_encoding = 'UTF8';
SET statement_timeout = 20;
SELECT pg_sleep(10);
RESET statement_timeout;
SET ROLE nobody_at_all;
DISCARD ALL;
-- a new session, then the end of this one from outside
\connect
SELECT 'connected';
DROP TABLE orders, people CASCADE;
SELECT pg_terminate_backend(pg_backend_pid());
