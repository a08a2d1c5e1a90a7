-- Checkpoints of partitions. Each transaction of a partition changes its own row.
CREATE TABLE {schema}.partitions (
    build bigint NOT NULL REFERENCES {schema}.read_models ON DELETE CASCADE,
    index integer NOT NULL,
    -- Number of partitions of the read model.
    count integer NOT NULL,
    position bigint,
    incarnation uuid,
    PRIMARY KEY (build, index),
    CHECK ((position IS NULL) = (incarnation IS NULL))
);

-- Earlier versions kept them in one property, such as `7@INCARNATION,-`.
INSERT INTO {schema}.partitions (build, index, count, position, incarnation)
SELECT p.build, e.number - 1, cardinality(string_to_array(p.value, ',')),
       CASE WHEN e.text <> '-' THEN split_part(e.text, '@', 1)::bigint END,
       CASE WHEN e.text <> '-' THEN split_part(e.text, '@', 2)::uuid END
  FROM {schema}.properties p,
       unnest(string_to_array(p.value, ',')) WITH ORDINALITY AS e(text, number)
 WHERE p.name = '$partitions';
DELETE FROM {schema}.properties p WHERE p.name = '$partitions';

-- The checkpoint of each read model: the lowest one of its partitions, if it is divided and all of
-- them have one of the same incarnation.
CREATE VIEW {schema}.handled AS
SELECT m.build, coalesce(lowest.position, c.position) AS position,
       coalesce(lowest.incarnation, c.incarnation) AS incarnation
  FROM {schema}.read_models m
  LEFT JOIN {schema}.checkpoints c ON c.build = m.build
  LEFT JOIN LATERAL (
      SELECT min(p.position) AS position, min(p.incarnation::text)::uuid AS incarnation
        FROM {schema}.partitions p WHERE p.build = m.build
      HAVING count(p.position) = count(*) AND count(DISTINCT p.incarnation) = 1
  ) lowest ON true;
