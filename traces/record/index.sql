-- A parts catalogue: filled, indexed, joined, searched, thinned out, packed. For `sqlite3 :memory:`.
CREATE TABLE maker(id INTEGER PRIMARY KEY, name TEXT, town TEXT);
CREATE TABLE part(id INTEGER PRIMARY KEY, maker INTEGER, name TEXT, price REAL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
  INSERT INTO maker SELECT i, 'maker ' || (i * 7919 % 1000), 'town ' || (i * 104729 % 37) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
  INSERT INTO part SELECT i, 1 + i * 31 % 400, 'part ' || (i * 6007 % 12007), (i * 37 % 9973) / 7.0,
    substr('a note about a part that is longer for some parts than it is for others, as notes are', 1, 8 + i % 75) FROM n;
CREATE INDEX part_maker ON part(maker, price);
CREATE UNIQUE INDEX part_name ON part(name);
SELECT town, count(*), round(sum(price), 2) FROM part JOIN maker ON maker.id = part.maker GROUP BY town ORDER BY 3 DESC;
SELECT m.name, group_concat(p.name, ', ') FROM maker m JOIN part p ON p.maker = m.id WHERE p.price > 1200 GROUP BY m.id;
SELECT name, price, rank() OVER (PARTITION BY maker ORDER BY price DESC) r FROM part ORDER BY r, name LIMIT 500;
SELECT upper(name) || ': ' || replace(note, 'part', 'piece') FROM part WHERE note LIKE '%others%' ORDER BY price;
SELECT printf('%-20s|%8.2f|%s', name, price, hex(note)) FROM part WHERE id % 3 = 0;
DELETE FROM part WHERE id % 5 IN (1, 2);
UPDATE part SET note = note || ' (' || name || ')' WHERE price < 400;
SELECT json_group_array(json_object('name', name, 'price', price)) FROM part WHERE maker < 200;
VACUUM;
SELECT count(*), sum(length(note)) FROM part;
