-- Calls many small functions: the parser, B-trees, the sorter, a full text index.
CREATE TABLE city(id INTEGER PRIMARY KEY, name TEXT, country INT, people INT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
INSERT INTO city SELECT i, 'city' || (i * 7919 % 9973), i % 4, i * 104729 % 100003 FROM n;
CREATE INDEX city_people ON city(people);
CREATE INDEX city_name ON city(name);
SELECT country, count(*), sum(people) FROM city GROUP BY country ORDER BY 3 DESC;
SELECT count(*) FROM city AS a JOIN city AS b ON a.people = b.people;
SELECT group_concat(name, ',') FROM (SELECT DISTINCT name FROM city ORDER BY name LIMIT 8);
BEGIN;
DELETE FROM city WHERE id % 3 = 0;
SELECT count(*) FROM city;
ROLLBACK;
CREATE VIRTUAL TABLE note USING fts5(body);
INSERT INTO note SELECT name || ' is in ' || country FROM city WHERE id < 2000;
SELECT count(*) FROM note WHERE note MATCH 'city9*';
PRAGMA integrity_check;
