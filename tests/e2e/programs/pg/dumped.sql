-- SPDX-License-Identifier: Apache-2.0
-- A database to be dumped: of each kind of object one, and rows.
CREATE SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('sad', 'happy');
CREATE TABLE shop.people (id serial PRIMARY KEY, name text NOT NULL, feels shop.mood DEFAULT 'happy');
CREATE TABLE shop.orders (id int PRIMARY KEY, who int REFERENCES shop.people, what text);
CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE INDEX ON shop.orders (what);
CREATE VIEW shop.both AS SELECT name, what FROM shop.people JOIN shop.orders ON who = people.id;
CREATE MATERIALIZED VIEW shop.kept AS SELECT count(*) FROM shop.people;
CREATE FUNCTION shop.twice(i int) RETURNS int LANGUAGE sql AS $$ SELECT i * 2 -- twice $$;
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touching BEFORE UPDATE ON shop.people FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE POLICY mine ON shop.orders USING (who = 1);
COMMENT ON TABLE shop.people IS 'it''s "people"; -- /* really */';
INSERT INTO shop.people (name) SELECT 'name ' || i FROM generate_series(1, 500) i;
INSERT INTO shop.orders SELECT i, i, E'a\tb\\' || i FROM generate_series(1, 300) i;
INSERT INTO parts SELECT i, '2024-06-01' FROM generate_series(1, 100) i;
REFRESH MATERIALIZED VIEW shop.kept;
SELECT lo_from_bytea(4711, 'a large object');
