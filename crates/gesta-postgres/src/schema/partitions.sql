-- Partitions of `events` by ranges of positions, version 5.

-- Number of positions of the partitions that are made from now on.
ALTER TABLE {schema}.store ADD COLUMN partition_positions bigint NOT NULL DEFAULT 10000000;
-- No event of the stream is before it. 0 for streams of earlier versions.
ALTER TABLE {schema}.streams ADD COLUMN first_position bigint NOT NULL DEFAULT 0;

CREATE TABLE {schema}.partitions (
    first_position bigint PRIMARY KEY,
    -- The position after the last one.
    end_position bigint NOT NULL,
    -- NULL in the schema of the store.
    archive_schema text,
    table_name text NOT NULL,
    -- The file that has the payloads, and the BLAKE3 of its appends.
    archive_file text,
    archive_digest text
);

-- The name of the schema, for statements that are put together.
CREATE FUNCTION {schema}.own_name() RETURNS name
LANGUAGE sql STABLE
AS $$ SELECT n.nspname FROM {schema}.store s
        JOIN pg_class c ON c.oid = s.tableoid JOIN pg_namespace n ON n.oid = c.relnamespace $$;

-- The table of earlier versions becomes the first partition.
ALTER TABLE {schema}.events RENAME TO events_1;
ALTER INDEX {schema}.events_pkey RENAME TO events_1_pkey;
ALTER INDEX {schema}.events_of_stream RENAME TO events_1_of_stream;
ALTER INDEX {schema}.events_by_id RENAME TO events_1_by_id;
ALTER INDEX {schema}.events_of_type RENAME TO events_1_of_type;
ALTER INDEX {schema}.events_of_category RENAME TO events_1_of_category;
ALTER INDEX {schema}.events_of_correlation RENAME TO events_1_of_correlation;
ALTER INDEX {schema}.events_of_causation RENAME TO events_1_of_causation;
-- It has no indexes: each partition has its own.
CREATE TABLE {schema}.events (LIKE {schema}.events_1) PARTITION BY RANGE (position);
-- An archived payload is NULL.
ALTER TABLE {schema}.events ALTER COLUMN data DROP NOT NULL;
INSERT INTO {schema}.partitions (first_position, end_position, table_name)
SELECT 1, 1 + s.partition_positions
              * (1 + (SELECT coalesce(max(e.position), 0) FROM {schema}.events_1 e)
                     / s.partition_positions),
       'events_1'
  FROM {schema}.store s;

-- Checks once that every event is within the bounds, which takes a scan.
DO $$
BEGIN
    EXECUTE format('ALTER TABLE %1$I.events ATTACH PARTITION %1$I.events_1
        FOR VALUES FROM (1) TO (%2$s)', {schema}.own_name(),
        (SELECT p.end_position FROM {schema}.partitions p));
END
$$;
