CREATE SEQUENCE {schema}.builds;

CREATE TABLE {schema}.read_models (
    build bigint PRIMARY KEY,
    projection text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    stage text NOT NULL
        CHECK (stage IN ('rebuilding', 'live', 'retired', 'dropped', 'quarantined')),
    -- The schema with the rows.
    rows_in text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX read_models_live ON {schema}.read_models (projection) WHERE stage = 'live';
CREATE INDEX read_models_projection ON {schema}.read_models (projection, build);

CREATE TABLE {schema}.checkpoints (
    build bigint PRIMARY KEY,
    position bigint NOT NULL,
    incarnation uuid NOT NULL
);

CREATE TABLE {schema}.dead_letters (
    build bigint NOT NULL,
    position bigint NOT NULL,
    event uuid NOT NULL,
    event_type text NOT NULL,
    stream text NOT NULL,
    revision bigint NOT NULL,
    recorded_at bigint NOT NULL,
    -- Either an error and the number of attempts, or the position of the letter before.
    error text,
    attempts bigint,
    behind bigint,
    PRIMARY KEY (build, position),
    CHECK ((error IS NULL) = (attempts IS NULL) AND (error IS NULL) <> (behind IS NULL))
);

CREATE TABLE {schema}.properties (
    build bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (build, name)
);

CREATE TABLE {schema}.consumers (
    name text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    incarnation uuid NOT NULL
);

CREATE TABLE {schema}.snapshots (
    stream text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL,
    incarnation uuid NOT NULL,
    fingerprint bigint NOT NULL,
    state bytea NOT NULL
);

-- Materialized views of read models.
CREATE TABLE {schema}.views (
    build bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    refresh text NOT NULL CHECK (refresh IN ('batch', 'interval', 'demand')),
    every_micros bigint,
    -- There is a unique index, so that a refresh holds up no query.
    is_concurrent boolean NOT NULL,
    refreshed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (build, name),
    CHECK ((refresh = 'interval') = (every_micros IS NOT NULL))
);

-- Creates a read model with its schema. Returns false if its projection has a live one already.
CREATE FUNCTION {schema}.create_read_model(
    of_build bigint, of_projection text, of_version bigint, of_stage text, of_schema text
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.read_models (build, projection, version, stage, rows_in)
    VALUES (of_build, of_projection, of_version, of_stage, of_schema)
    ON CONFLICT (projection) WHERE stage = 'live' DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE SCHEMA %I', of_schema);
    -- Never written: vacuum has no reason to lock it.
    EXECUTE format('CREATE TABLE %I.gesta_build ()', of_schema);
    EXECUTE format(
        'CREATE TABLE %I.gesta_rows (name text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
         value json NOT NULL, PRIMARY KEY (name, key))', of_schema);
    RETURN true;
END
$$;

-- Makes a read model live. The others of its projection are dropped, or the live one retires.
-- Returns false if there is no such read model.
CREATE FUNCTION {schema}.switch_read_model(of_build bigint, of_projection text, keeps boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    -- One switch of a projection at a time.
    PERFORM 1 FROM {schema}.read_models m
      WHERE m.projection = of_projection ORDER BY m.build FOR UPDATE;
    PERFORM 1 FROM {schema}.read_models m
      WHERE m.build = of_build AND m.projection = of_projection
        AND m.stage IN ('rebuilding', 'live', 'retired');
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- First the live one ends: the index allows one at any time.
    UPDATE {schema}.read_models m
       SET stage = CASE WHEN keeps AND m.stage = 'live' THEN 'retired' ELSE 'dropped' END
     WHERE m.projection = of_projection AND m.build <> of_build
       AND m.stage IN ('rebuilding', 'live', 'retired');
    UPDATE {schema}.read_models m SET stage = 'live' WHERE m.build = of_build;
    RETURN true;
END
$$;

-- Removes a dropped read model. Returns false if a transaction or reader uses it.
CREATE FUNCTION {schema}.remove_read_model(of_build bigint) RETURNS boolean LANGUAGE plpgsql
-- Short: statements that come meanwhile wait behind this one.
SET lock_timeout = '1s'
AS $$
DECLARE
    of_schema text;
BEGIN
    SELECT m.rows_in INTO of_schema FROM {schema}.read_models m
     WHERE m.build = of_build AND m.stage = 'dropped' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    IF to_regclass(format('%I.gesta_build', of_schema)) IS NOT NULL THEN
        EXECUTE format('LOCK TABLE %I.gesta_build IN ACCESS EXCLUSIVE MODE NOWAIT', of_schema);
    END IF;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', of_schema);
    DELETE FROM {schema}.checkpoints c WHERE c.build = of_build;
    DELETE FROM {schema}.dead_letters d WHERE d.build = of_build;
    DELETE FROM {schema}.properties p WHERE p.build = of_build;
    DELETE FROM {schema}.views v WHERE v.build = of_build;
    DELETE FROM {schema}.read_models m WHERE m.build = of_build;
    RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN false;
END
$$;
