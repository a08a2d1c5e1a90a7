-- The tables behind `events`.

-- Gives a table the indexes of a partition. Revisions are unique within a partition; those of the
-- whole store are kept unique by the lock of appends.
CREATE OR REPLACE FUNCTION {schema}.index_events(place text, name text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    definition text;
BEGIN
    FOREACH definition IN ARRAY ARRAY[
        'ALTER TABLE %1$I.%2$I ADD CONSTRAINT %3$I PRIMARY KEY (position)|pkey',
        'CREATE UNIQUE INDEX %3$I ON %1$I.%2$I (stream_id, revision)|of_stream',
        'CREATE INDEX %3$I ON %1$I.%2$I (id)|by_id',
        'CREATE INDEX %3$I ON %1$I.%2$I (type_id, position)|of_type',
        'CREATE INDEX %3$I ON %1$I.%2$I (category_id, position)
            WHERE category_id IS NOT NULL|of_category',
        'CREATE INDEX %3$I ON %1$I.%2$I (correlation_id, position)
            WHERE correlation_id IS NOT NULL|of_correlation',
        'CREATE INDEX %3$I ON %1$I.%2$I (causation_id, position)
            WHERE causation_id IS NOT NULL|of_causation']
    LOOP
        EXECUTE format(split_part(definition, '|', 1), place, name,
            name || '_' || split_part(definition, '|', 2));
    END LOOP;
END
$$;

-- Makes the partitions that positions up to `through` need. The caller holds the lock of appends.
-- It runs with the rights of the owner of the tables: who appends needs no right to create any.
CREATE OR REPLACE FUNCTION {schema}.add_partitions(through bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place text := {schema}.own_name();
    -- Within the limits of an archive, whatever the row has: an append must not fail by it.
    positions bigint := (
        SELECT least(greatest(s.partition_positions, 1000), 1000000000) FROM {schema}.store s);
    begins bigint;
    name text;
BEGIN
    LOOP
        SELECT max(p.end_position) INTO begins FROM {schema}.partitions p;
        EXIT WHEN begins > through;
        name := 'events_' || begins;
        EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.events)', place, name);
        EXECUTE format('ALTER TABLE %I.%I ALTER COLUMN data SET NOT NULL', place, name);
        PERFORM {schema}.index_events(place, name);
        EXECUTE format('ALTER TABLE %1$I.events ATTACH PARTITION %1$I.%2$I
            FOR VALUES FROM (%3$s) TO (%4$s)', place, name, begins, begins + positions);
        INSERT INTO {schema}.partitions (first_position, end_position, table_name)
        VALUES (begins, begins + positions, name);
    END LOOP;
END
$$;
