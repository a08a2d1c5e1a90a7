-- Appends a batch of one append, to one stream. The verdict is that of `append`, which judges every
-- other batch: arrays for one row, and loops over them, are most of what a lone append costs.
--
-- Types and the category have their numbers. Columns of which no event has a value are empty arrays.
-- `item_tags` has a tag for each item of the condition.
CREATE OR REPLACE FUNCTION {schema}.append_alone(
    stream_name text, category integer, expected integer, exact bigint,
    after_position bigint, item_tags text[],
    event_ids uuid[], event_types integer[], event_versions integer[], event_contents text[],
    event_correlations text[], event_causations text[], event_tags bytea[],
    event_metadata bytea[], event_data bytea[], tag_nths integer[], tag_names text[],
    known_timeline text,
    OUT verdict integer, OUT detail bigint, OUT stream_head bigint, OUT head_after bigint
) LANGUAGE plpgsql
-- As in `append`.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    events integer := cardinality(event_ids);
    now_at bigint;
    head_before bigint;
    stream bigint;
    head bigint;
    has_events boolean;
    is_tombstoned boolean;
    -- No event of the stream is before it. Look-ups leave out partitions before it.
    begins bigint;
    found_at bigint;
BEGIN
    PERFORM pg_advisory_xact_lock({lock});
    IF ({session_is_unfit}) THEN
        PERFORM {schema}.refuse_append(known_timeline);
    END IF;
    SELECT e.position, e.recorded_at INTO head_before, now_at
      FROM {schema}.events e ORDER BY e.position DESC LIMIT 1;
    head_before := coalesce(head_before, 0);
    now_at := greatest(now_at, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    SELECT s.id, s.head, s.head >= s.truncate_before AND s.head >= 0, s.tombstoned,
           s.first_position
      INTO stream, head, has_events, is_tombstoned, begins
      FROM {schema}.streams s WHERE s.name = stream_name;
    IF stream IS NOT NULL THEN
        SELECT i.position INTO found_at
          -- OFFSET keeps the look-up on the index of ids: a stream may be long.
          FROM (SELECT e.position, e.stream_id, e.append_events
                  FROM {schema}.events e
                 WHERE e.id = event_ids[1] AND e.position >= begins OFFSET 0) i
         WHERE i.stream_id = stream AND i.append_events > 0 LIMIT 1;
    END IF;
    verdict := CASE
        WHEN found_at IS NOT NULL THEN 5
        WHEN is_tombstoned THEN 2
        WHEN expected = 3 AND coalesce(head, -1) <> exact THEN 1
        WHEN expected = 1 AND has_events THEN 1
        WHEN expected = 2 AND has_events IS NOT TRUE THEN 1
        WHEN after_position > head_before THEN 4
        ELSE 0 END;
    IF verdict = 0 AND after_position IS NOT NULL THEN
        -- The first visible event that meets an item of the condition; of several items, the last
        -- of these.
        SELECT max(g.position) INTO found_at
          FROM generate_series(1, cardinality(item_tags)) n
         CROSS JOIN LATERAL (
              SELECT t.position
                FROM {schema}.tags t
                JOIN {schema}.events e
                  ON e.position = t.position AND e.position > after_position
                JOIN {schema}.streams s ON s.id = e.stream_id
               WHERE t.tag = item_tags[n] AND t.position > after_position
                 AND NOT s.tombstoned
                 AND e.revision >= greatest(s.truncate_before, s.head + 1 - s.max_count)
                 AND (s.max_age_micros IS NULL
                      OR now_at - e.recorded_at <= s.max_age_micros)
               ORDER BY t.position LIMIT 1) g;
        verdict := CASE WHEN found_at IS NULL THEN 0 ELSE 3 END;
    END IF;
    IF verdict > 0 THEN
        head_after := head_before;
        detail := CASE verdict WHEN 4 THEN head_after ELSE found_at END;
        stream_head := CASE WHEN verdict = 1 AND (expected = 3 OR has_events) THEN head END;
        RETURN;
    END IF;
    IF stream IS NULL THEN
        INSERT INTO {schema}.streams (id, name, head, first_position)
        VALUES (nextval('{schema}.stream_ids'), stream_name, events - 1, head_before + 1)
        RETURNING id, -1 INTO stream, head;
    ELSE
        UPDATE {schema}.streams s SET head = s.head + events WHERE s.id = stream;
    END IF;
    IF head_before + events >= (SELECT max(p.end_position) FROM {schema}.partitions p) THEN
        PERFORM {schema}.add_partitions(head_before + events);
    END IF;
    INSERT INTO {schema}.events
    SELECT head_before + n, stream, head + n,
           now_at, event_ids[n], event_types[n], category,
           CASE n WHEN 1 THEN events ELSE 0 END, event_versions[n], event_contents[n],
           event_correlations[n], event_causations[n], event_tags[n], event_metadata[n],
           event_data[n]
      FROM generate_series(1, events) n;
    IF tag_names <> '{}' THEN
        INSERT INTO {schema}.tags (tag, position)
        SELECT tag_names[n], head_before + 1 + tag_nths[n]
          FROM generate_series(1, cardinality(tag_names)) n;
    END IF;
    head_after := head_before + events;
    detail := head_after;
    stream_head := head + events;
END
$$;
