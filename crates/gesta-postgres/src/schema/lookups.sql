-- Look-ups that need several steps. They find places by binary search, because positions have no
-- gaps and recorded times never fall.

-- The first position whose event was recorded at or after a time, in microseconds since 1970.
CREATE OR REPLACE FUNCTION {schema}.position_from(wanted bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    low bigint;
    high bigint;
    middle bigint;
BEGIN
    SELECT coalesce(min(e.position), 1), coalesce(max(e.position), 0) + 1
      INTO low, high FROM {schema}.events e;
    WHILE low < high LOOP
        middle := (low + high) / 2;
        IF (SELECT e.recorded_at < wanted FROM {schema}.events e WHERE e.position = middle) THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- The first revision of a stream whose event is at or after a position.
CREATE OR REPLACE FUNCTION {schema}.revision_from(stream bigint, wanted bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    low bigint := 0;
    high bigint;
    middle bigint;
    begins bigint;
BEGIN
    SELECT s.head + 1, s.first_position INTO high, begins FROM {schema}.streams s
     WHERE s.id = stream;
    WHILE low < high LOOP
        middle := (low + high) / 2;
        -- The variable leaves out partitions before the stream began.
        IF (SELECT e.position < wanted FROM {schema}.events e
             WHERE e.stream_id = stream AND e.revision = middle AND e.position >= begins) THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- The current time of the server, in microseconds since 1970.
CREATE OR REPLACE FUNCTION {schema}.now_micros() RETURNS bigint
LANGUAGE sql STABLE
AS $$ SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint $$;

-- The position of the first visible event after a position that an item of a query matches:
-- any of the types, and all of the tags. An empty list matches everything.
CREATE OR REPLACE FUNCTION {schema}.first_match(
    after bigint, wanted_types text[], wanted_tags text[], now_at bigint
) RETURNS bigint
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    wanted_ids integer[] := ARRAY(
        SELECT t.id FROM {schema}.types t WHERE t.name = ANY (wanted_types));
    rarest text := wanted_tags[1];
    found bigint;
BEGIN
    IF cardinality(wanted_types) > 0 AND cardinality(wanted_ids) = 0 THEN
        RETURN NULL;
    END IF;
    IF cardinality(wanted_tags) = 0 AND cardinality(wanted_types) = 0 THEN
        SELECT e.position INTO found
          FROM {schema}.events e JOIN {schema}.streams s ON s.id = e.stream_id
         WHERE e.position > after
           AND NOT s.tombstoned
           AND e.revision >= greatest(s.truncate_before, s.head + 1 - s.max_count)
           AND (s.max_age_micros IS NULL OR now_at - e.recorded_at <= s.max_age_micros)
         ORDER BY e.position LIMIT 1;
        RETURN found;
    END IF;
    IF cardinality(wanted_tags) = 0 THEN
        SELECT min(m.position) INTO found FROM unnest(wanted_ids) k(id), LATERAL (
            SELECT e.position
              FROM {schema}.events e JOIN {schema}.streams s ON s.id = e.stream_id
             WHERE e.type_id = k.id AND e.position > after
               AND NOT s.tombstoned
               AND e.revision >= greatest(s.truncate_before, s.head + 1 - s.max_count)
               AND (s.max_age_micros IS NULL OR now_at - e.recorded_at <= s.max_age_micros)
             ORDER BY e.position LIMIT 1) m;
        RETURN found;
    END IF;
    -- The scan follows the tag with the fewest events, as far as a short count can tell.
    IF cardinality(wanted_tags) > 1 THEN
        SELECT w.tag INTO rarest FROM unnest(wanted_tags) w(tag)
         ORDER BY (SELECT count(*) FROM (
                SELECT 1 FROM {schema}.tags c
                 WHERE c.tag = w.tag AND c.position > after LIMIT 1000) c)
         LIMIT 1;
    END IF;
    SELECT g.position INTO found
      FROM {schema}.tags g
      JOIN {schema}.events e ON e.position = g.position AND e.position > after
      JOIN {schema}.streams s ON s.id = e.stream_id
     WHERE g.tag = rarest AND g.position > after
       AND (cardinality(wanted_types) = 0 OR e.type_id = ANY (wanted_ids))
       AND NOT EXISTS (
            SELECT 1 FROM unnest(wanted_tags) w(tag)
             WHERE NOT EXISTS (SELECT 1 FROM {schema}.tags o
                                WHERE o.tag = w.tag AND o.position = g.position))
       AND NOT s.tombstoned
       AND e.revision >= greatest(s.truncate_before, s.head + 1 - s.max_count)
       AND (s.max_age_micros IS NULL OR now_at - e.recorded_at <= s.max_age_micros)
     ORDER BY g.position LIMIT 1;
    RETURN found;
END
$$;
