-- Appends a batch: judges each append on its own, in order, and records those that hold.
--
-- Numbers that refer to other arguments are indexes, from 1: of streams, of parts (one stream of
-- one append), of types, of categories. `append_parts[n]` is the first part of the n-th append, and
-- has one element more than there are appends. A batch never has two appends with the same first
-- event id, a condition that an earlier append of the batch meets, or a change of metadata beside
-- another append.
--
-- Verdicts: 0 recorded, 1 conflict with an expectation, 2 tombstoned, 3 the condition is met,
-- 4 the condition is beyond the head, 5 there is an append with this first event id in the stream.
CREATE OR REPLACE FUNCTION {schema}.append(
    stream_names text[], stream_categories integer[], type_names text[], category_names text[],
    append_parts integer[], first_ids uuid[], first_streams integer[], after_positions bigint[],
    part_streams integer[], part_subjects integer[], part_expected integer[],
    part_exact bigint[], part_counts integer[],
    event_parts integer[], event_nths integer[], event_sizes integer[], event_ids uuid[],
    event_types integer[], event_versions integer[], event_contents text[],
    event_correlations text[], event_causations text[], event_tags bytea[],
    event_metadata bytea[], event_data bytea[],
    tag_parts integer[], tag_nths integer[], tag_names text[],
    item_appends integer[], item_lone_tags text[], item_types text[], item_type_ends integer[],
    item_tags text[], item_tag_ends integer[],
    effect_streams integer[], effect_metadata bytea[], effect_truncations bigint[],
    effect_counts bigint[], effect_ages bigint[], effect_tombstones boolean[],
    known_timeline text, type_ids integer[], category_ids integer[],
    OUT verdicts integer[], OUT details bigint[], OUT failed_parts integer[],
    OUT part_heads bigint[], OUT head_after bigint,
    OUT new_type_ids integer[], OUT new_category_ids integer[]
) LANGUAGE plpgsql
-- Plans are made once for a connection. Without these settings a plan that was made for small
-- tables would scan large ones.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    head_before bigint;
    now_at bigint;
    -- No event of the streams that exist is before it.
    streams_begin bigint;
    stream_ids bigint[];
    heads bigint[];
    truncations bigint[];
    tombstones boolean[];
    known boolean[];
    -- 1: the stream's row changes, 2: it is new.
    written integer[];
    seen bigint[];
    matches bigint[];
    item_matches bigint[];
    part_positions bigint[];
    part_revisions bigint[];
    appends integer := cardinality(first_ids);
    stream integer;
    verdict integer;
    type_begin integer := 0;
    tag_begin integer := 0;
BEGIN
    -- One batch at a time: positions are assigned and become visible in the same order.
    PERFORM pg_advisory_xact_lock({lock});
    IF ({session_is_unfit}) THEN
        PERFORM {schema}.refuse_append(known_timeline);
    END IF;
    SELECT e.position, e.recorded_at INTO head_before, now_at
      FROM {schema}.events e ORDER BY e.position DESC LIMIT 1;
    head_before := coalesce(head_before, 0);
    head_after := head_before;
    now_at := greatest(coalesce(now_at, 0),
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);

    -- The state of each stream. LATERAL and LIMIT keep the look-up an index scan, and the rows in
    -- the order of the series. Elements by subscripts: several arrays side by side in FROM would
    -- be copied first.
    SELECT array_agg(coalesce(k.id, nextval('{schema}.stream_ids'))),
           array_agg(coalesce(k.head, -1)), array_agg(coalesce(k.truncate_before, 0)),
           array_agg(coalesce(k.tombstoned, false)), array_agg(k.id IS NOT NULL),
           min(k.first_position)
      INTO stream_ids, heads, truncations, tombstones, known, streams_begin
      FROM generate_series(1, cardinality(stream_names)) n
      LEFT JOIN LATERAL (
          SELECT s.id, s.head, s.truncate_before, s.tombstoned, s.first_position
            FROM {schema}.streams s WHERE s.name = stream_names[n] LIMIT 1) k ON true;
    -- Earlier appends with the same first event id in the same stream. The variable leaves out
    -- partitions before the plan is started, and a new stream has no earlier append.
    seen := array_fill(0::bigint, ARRAY[appends]);
    IF streams_begin IS NOT NULL THEN
        SELECT array_agg(coalesce(k.position, 0)) INTO seen
          FROM generate_series(1, appends) n
          LEFT JOIN LATERAL (
              SELECT i.position
                -- OFFSET keeps the look-up on the index of ids: a stream may be long.
                FROM (SELECT e.position, e.stream_id, e.append_events
                        FROM {schema}.events e
                       WHERE e.id = first_ids[n] AND e.position >= streams_begin OFFSET 0) i
               WHERE i.stream_id = stream_ids[first_streams[n]] AND i.append_events > 0
               LIMIT 1) k ON known[first_streams[n]];
    END IF;
    -- Visible events that meet a condition. Items of one tag are looked up together.
    matches := array_fill(0::bigint, ARRAY[appends]);
    IF cardinality(item_appends) > 0 THEN
        SELECT array_agg(k.position ORDER BY i.nr) INTO item_matches
          FROM unnest(item_appends, item_lone_tags) WITH ORDINALITY i(append, tag, nr)
          LEFT JOIN LATERAL (
              SELECT g.position
                FROM {schema}.tags g
                JOIN {schema}.events e ON e.position = g.position
                JOIN {schema}.streams s ON s.id = e.stream_id
               WHERE g.tag = i.tag AND g.position > after_positions[i.append]
                 AND NOT s.tombstoned
                 AND e.revision >= greatest(s.truncate_before, s.head + 1 - s.max_count)
                 AND (s.max_age_micros IS NULL OR now_at - e.recorded_at <= s.max_age_micros)
               ORDER BY g.position LIMIT 1) k ON true;
    END IF;
    FOR i IN 1..cardinality(item_appends) LOOP
        IF item_lone_tags[i] IS NOT NULL THEN
            matches[item_appends[i]] :=
                greatest(matches[item_appends[i]], item_matches[i]);
        ELSIF matches[item_appends[i]] = 0 THEN
            matches[item_appends[i]] := coalesce({schema}.first_match(
                after_positions[item_appends[i]],
                item_types[type_begin + 1:item_type_ends[i]],
                item_tags[tag_begin + 1:item_tag_ends[i]], now_at), 0);
        END IF;
        type_begin := item_type_ends[i];
        tag_begin := item_tag_ends[i];
    END LOOP;

    verdicts := array_fill(0, ARRAY[appends]);
    details := array_fill(0::bigint, ARRAY[appends]);
    failed_parts := array_fill(0, ARRAY[appends]);
    part_heads := array_fill(-1::bigint, ARRAY[cardinality(part_streams)]);
    part_positions := array_fill(0::bigint, ARRAY[cardinality(part_streams)]);
    part_revisions := array_fill(0::bigint, ARRAY[cardinality(part_streams)]);
    written := array_fill(0, ARRAY[cardinality(stream_names)]);
    FOR a IN 1..appends LOOP
        -- Repeats come first: their expectations no longer hold.
        IF seen[a] > 0 THEN
            verdicts[a] := 5;
            details[a] := seen[a];
            CONTINUE;
        END IF;
        verdict := 0;
        FOR p IN append_parts[a]..append_parts[a + 1] - 1 LOOP
            IF tombstones[part_subjects[p]] THEN
                verdict := 2;
                failed_parts[a] := p;
                EXIT;
            END IF;
            CONTINUE WHEN part_expected[p] = 0;
            stream := part_streams[p];
            IF part_expected[p] = 3 THEN
                CONTINUE WHEN heads[stream] = part_exact[p];
                part_heads[p] := heads[stream];
            ELSIF heads[stream] < 0 OR truncations[stream] > heads[stream] THEN
                CONTINUE WHEN part_expected[p] = 1;
            ELSE
                CONTINUE WHEN part_expected[p] = 2;
                part_heads[p] := heads[stream];
            END IF;
            verdict := 1;
            failed_parts[a] := p;
            EXIT;
        END LOOP;
        IF verdict = 0 AND after_positions[a] > head_after THEN
            verdict := 4;
            details[a] := head_after;
        ELSIF verdict = 0 AND matches[a] > 0 THEN
            verdict := 3;
            details[a] := matches[a];
        END IF;
        verdicts[a] := verdict;
        CONTINUE WHEN verdict > 0;
        FOR p IN append_parts[a]..append_parts[a + 1] - 1 LOOP
            CONTINUE WHEN part_counts[p] = 0;
            stream := part_streams[p];
            part_positions[p] := head_after + 1;
            part_revisions[p] := heads[stream] + 1;
            head_after := head_after + part_counts[p];
            heads[stream] := heads[stream] + part_counts[p];
            part_heads[p] := heads[stream];
            written[stream] := CASE WHEN known[stream] THEN 1 ELSE 2 END;
        END LOOP;
        details[a] := head_after;
    END LOOP;
    -- Nothing to write: the transaction ends without a sync.
    IF head_after = head_before THEN
        RETURN;
    END IF;

    -- The client knows most numbers from earlier batches, and sends 0 for the others.
    IF 0 = ANY (type_ids) THEN
        type_ids := {schema}.ids_of_types(type_names);
        new_type_ids := type_ids;
    END IF;
    IF 0 = ANY (category_ids) THEN
        category_ids := {schema}.ids_of_categories(category_names);
        new_category_ids := category_ids;
    END IF;
    IF 1 = ANY (written) THEN
        UPDATE {schema}.streams s SET head = heads[n]
          FROM generate_series(1, cardinality(stream_ids)) n
         WHERE written[n] = 1 AND s.id = stream_ids[n];
    END IF;
    IF 2 = ANY (written) THEN
        INSERT INTO {schema}.streams (id, name, head, first_position)
        SELECT n.id, n.name, n.head, head_before + 1
          FROM unnest(stream_ids, stream_names, heads, written) n(id, name, head, written)
         WHERE n.written = 2;
    END IF;
    IF head_after >= (SELECT max(p.end_position) FROM {schema}.partitions p) THEN
        PERFORM {schema}.add_partitions(head_after);
    END IF;
    INSERT INTO {schema}.events
    SELECT part_positions[event_parts[n]] + event_nths[n], stream_ids[part_streams[event_parts[n]]],
           part_revisions[event_parts[n]] + event_nths[n], now_at, event_ids[n],
           type_ids[event_types[n]],
           category_ids[stream_categories[part_streams[event_parts[n]]]], event_sizes[n],
           event_versions[n], event_contents[n], event_correlations[n], event_causations[n],
           event_tags[n], event_metadata[n], event_data[n]
      FROM generate_series(1, cardinality(event_ids)) n
     WHERE part_positions[event_parts[n]] > 0;
    IF cardinality(tag_names) > 0 THEN
        INSERT INTO {schema}.tags (tag, position)
        SELECT g.tag, part_positions[g.part] + g.nth
          FROM unnest(tag_parts, tag_nths, tag_names) g(part, nth, tag)
         WHERE part_positions[g.part] > 0;
    END IF;
    -- Only of a batch with one append, which was recorded.
    IF cardinality(effect_streams) > 0 THEN
        INSERT INTO {schema}.streams AS s (
            id, name, head, truncate_before, max_count, max_age_micros, tombstoned, metadata,
            first_position)
        SELECT stream_ids[n.stream], stream_names[n.stream], heads[n.stream],
               coalesce(n.truncation, 0), n.count, n.age, n.tombstone, n.metadata,
               head_before + 1
          FROM unnest(effect_streams, effect_metadata, effect_truncations, effect_counts,
                      effect_ages, effect_tombstones)
               n(stream, metadata, truncation, count, age, tombstone)
        ON CONFLICT (id) DO UPDATE SET
            tombstoned = s.tombstoned OR excluded.tombstoned,
            truncate_before = CASE WHEN excluded.metadata IS NULL
                THEN s.truncate_before ELSE excluded.truncate_before END,
            max_count = CASE WHEN excluded.metadata IS NULL
                THEN s.max_count ELSE excluded.max_count END,
            max_age_micros = CASE WHEN excluded.metadata IS NULL
                THEN s.max_age_micros ELSE excluded.max_age_micros END,
            metadata = coalesce(excluded.metadata, s.metadata);
    END IF;
END
$$;

-- Numbers of names. A new name gets a number; the lock of `append` keeps it from getting two.
CREATE OR REPLACE FUNCTION {schema}.ids_of_types(names text[]) RETURNS integer[]
LANGUAGE plpgsql
AS $$
DECLARE
    ids integer[];
BEGIN
    LOOP
        SELECT array_agg(coalesce(k.id, 0) ORDER BY n.nr) INTO ids
          FROM unnest(names) WITH ORDINALITY n(name, nr)
          LEFT JOIN LATERAL (
              SELECT t.id FROM {schema}.types t WHERE t.name = n.name LIMIT 1) k ON true;
        EXIT WHEN 0 = ANY (ids) IS NOT TRUE;
        INSERT INTO {schema}.types (name)
        SELECT n.name FROM unnest(names) n(name) ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN ids;
END
$$;

CREATE OR REPLACE FUNCTION {schema}.ids_of_categories(names text[]) RETURNS integer[]
LANGUAGE plpgsql
AS $$
DECLARE
    ids integer[];
BEGIN
    LOOP
        SELECT array_agg(coalesce(k.id, 0) ORDER BY n.nr) INTO ids
          FROM unnest(names) WITH ORDINALITY n(name, nr)
          LEFT JOIN LATERAL (
              SELECT c.id FROM {schema}.categories c WHERE c.name = n.name LIMIT 1) k ON true;
        EXIT WHEN 0 = ANY (ids) IS NOT TRUE;
        INSERT INTO {schema}.categories (name)
        SELECT n.name FROM unnest(names) n(name) ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN ids;
END
$$;

-- Raises the error of an append that this session, or a client that knows `known_timeline`, must
-- not do.
CREATE OR REPLACE FUNCTION {schema}.refuse_append(known_timeline text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    -- The statements of an append have to see what others committed before they released the lock.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'gesta appends need the isolation level read committed, not %',
            current_setting('transaction_isolation') USING ERRCODE = '25001';
    END IF;
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'the server is a replica' USING ERRCODE = '25006';
    END IF;
    -- A server that was promoted needs an incarnation before its first event.
    RAISE EXCEPTION 'the client knows timeline %, the server writes another',
        known_timeline USING ERRCODE = 'GS001';
END
$$;
