-- SPDX-License-Identifier: Apache-2.0
\set a random(1, 10)
BEGIN;
UPDATE counts SET n = n + :a::int WHERE id = :client_id::int + 1;
SELECT n FROM counts WHERE id = :a::int;
INSERT INTO counts VALUES (:client_id::int + 100, - :a::int), (:a::int + 1000, 0);
SELECT count(*) AS n, 'a literal' AS l FROM counts WHERE n <> 0 \gset
END;
