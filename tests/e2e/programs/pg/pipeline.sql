-- SPDX-License-Identifier: Apache-2.0
\set a random(1, 10)
SELECT 'before';
\startpipeline
BEGIN;
UPDATE counts SET n = n + :a::int WHERE id = :client_id::int + 1;
SELECT n FROM counts WHERE id = :a::int;
INSERT INTO counts VALUES (:client_id::int + 100, - :a::int);
END;
\endpipeline
SELECT 'after';
