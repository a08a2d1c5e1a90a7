-- Ordinals of categories, event types and conversations. Events are never renumbered, so a mark at
-- every 1024th event of an index holds for ever. Marks follow the appends: a read sets those that
-- are missing.

-- The positions of the events of an index after a position, in order.
CREATE OR REPLACE FUNCTION {schema}.indexed_events(
    wanted_kind text, wanted text, after bigint, skipped bigint, most bigint
) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    key integer;
BEGIN
    IF wanted_kind = 'category' THEN
        SELECT c.id INTO key FROM {schema}.categories c WHERE c.name = wanted;
        RETURN QUERY SELECT e.position FROM {schema}.events e
            WHERE e.category_id = key AND e.position > after
            ORDER BY e.position OFFSET skipped LIMIT most;
    ELSIF wanted_kind = 'type' THEN
        SELECT t.id INTO key FROM {schema}.types t WHERE t.name = wanted;
        RETURN QUERY SELECT e.position FROM {schema}.events e
            WHERE e.type_id = key AND e.position > after
            ORDER BY e.position OFFSET skipped LIMIT most;
    ELSE
        RETURN QUERY SELECT e.position FROM {schema}.events e
            WHERE e.correlation_id = wanted AND e.position > after
            ORDER BY e.position OFFSET skipped LIMIT most;
    END IF;
END
$$;

-- Sets the marks that are missing, and returns the number of events of the index.
CREATE OR REPLACE FUNCTION {schema}.mark_ordinals(wanted_kind text, wanted text, writable boolean)
RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    last_ordinal bigint := -1;
    last_position bigint := 0;
    next_position bigint;
BEGIN
    SELECT m.ordinal, m.position INTO last_ordinal, last_position
      FROM {schema}.ordinal_marks m WHERE m.kind = wanted_kind AND m.key = wanted
     ORDER BY m.ordinal DESC LIMIT 1;
    last_ordinal := coalesce(last_ordinal, -1);
    last_position := coalesce(last_position, 0);
    LOOP
        SELECT p INTO next_position
          FROM {schema}.indexed_events(wanted_kind, wanted, last_position, 1023, 1) p;
        EXIT WHEN next_position IS NULL;
        last_ordinal := last_ordinal + 1024;
        last_position := next_position;
        IF writable THEN
            INSERT INTO {schema}.ordinal_marks
            VALUES (wanted_kind, wanted, last_ordinal, last_position) ON CONFLICT DO NOTHING;
        END IF;
    END LOOP;
    RETURN last_ordinal + 1 + (SELECT count(*)
        FROM {schema}.indexed_events(wanted_kind, wanted, last_position, 0, NULL));
END
$$;

-- The number of events of an index before a position: the ordinal of the first at or after it.
CREATE OR REPLACE FUNCTION {schema}.ordinal_from(wanted_kind text, wanted text, wanted_position bigint)
RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    last_ordinal bigint;
    last_position bigint;
    most bigint;
BEGIN
    SELECT m.ordinal, m.position INTO last_ordinal, last_position
      FROM {schema}.ordinal_marks m
     WHERE m.kind = wanted_kind AND m.key = wanted AND m.position < wanted_position
     ORDER BY m.ordinal DESC LIMIT 1;
    -- The next mark, if there is one, is the limit of the count.
    SELECT m.ordinal - coalesce(last_ordinal, -1) INTO most
      FROM {schema}.ordinal_marks m
     WHERE m.kind = wanted_kind AND m.key = wanted AND m.ordinal > coalesce(last_ordinal, -1)
     ORDER BY m.ordinal LIMIT 1;
    RETURN coalesce(last_ordinal, -1) + 1 + (SELECT count(*)
        FROM {schema}.indexed_events(wanted_kind, wanted, coalesce(last_position, 0), 0, most) p
       WHERE p < wanted_position);
END
$$;

-- The positions of the events of an index from one ordinal to another, inclusive, in order.
CREATE OR REPLACE FUNCTION {schema}.nth_events(
    wanted_kind text, wanted text, first_ordinal bigint, last_ordinal bigint
) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    marked_ordinal bigint;
    marked_position bigint;
BEGIN
    SELECT m.ordinal, m.position INTO marked_ordinal, marked_position
      FROM {schema}.ordinal_marks m
     WHERE m.kind = wanted_kind AND m.key = wanted AND m.ordinal < first_ordinal
     ORDER BY m.ordinal DESC LIMIT 1;
    RETURN QUERY SELECT n FROM {schema}.indexed_events(
        wanted_kind, wanted, coalesce(marked_position, 0),
        first_ordinal - coalesce(marked_ordinal, -1) - 1, last_ordinal - first_ordinal + 1) n;
END
$$;
