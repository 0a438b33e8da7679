-- The parser, the planner, B-trees, sorting, a transaction that is rolled back
-- and a full text index. The output is the same in every run.
CREATE TABLE city(id INTEGER PRIMARY KEY, name TEXT, country INT, people INT);
CREATE TABLE country(id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO country VALUES (0, 'Alba'), (1, 'Brava'), (2, 'Cirra'), (3, 'Dorne');
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO city SELECT i, 'city' || (i * 7919 % 997), i % 4, i * 104729 % 100003 FROM n;
CREATE INDEX city_people ON city(people);

SELECT country.name, count(*), sum(people) FROM city JOIN country ON country.id = city.country
GROUP BY country.name ORDER BY 3 DESC;
SELECT name, people FROM city WHERE people BETWEEN 50000 AND 50250 ORDER BY people;

BEGIN;
DELETE FROM city WHERE id % 3 = 0;
SELECT count(*) FROM city;
ROLLBACK;
SELECT count(*) FROM city;

CREATE VIRTUAL TABLE note USING fts5(body);
INSERT INTO note SELECT name || ' is in ' || country FROM city WHERE id < 100;
SELECT count(*) FROM note WHERE note MATCH 'city9*';
SELECT group_concat(name, ',') FROM (SELECT DISTINCT name FROM city ORDER BY name LIMIT 8);
PRAGMA integrity_check;
