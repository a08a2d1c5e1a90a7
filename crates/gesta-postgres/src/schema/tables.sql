-- Tables of a store, version 1. `{schema}` is replaced by the quoted name of its schema.

CREATE TABLE {schema}.incarnations (
    ordinal integer PRIMARY KEY,
    id uuid NOT NULL,
    -- Position of the first event that can belong to it.
    first_position bigint NOT NULL,
    -- Identity of the server's history: it changes with a promotion and with a restore.
    system_identifier bigint NOT NULL,
    timeline bigint NOT NULL
);

CREATE TABLE {schema}.types (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE {schema}.categories (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);

CREATE SEQUENCE {schema}.stream_ids;

-- A row exists from the first event of the stream, or of its metadata, whichever is first.
CREATE TABLE {schema}.streams (
    id bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    -- The last revision; -1 without events.
    head bigint NOT NULL,
    truncate_before bigint NOT NULL DEFAULT 0,
    max_count bigint,
    max_age_micros bigint,
    tombstoned boolean NOT NULL DEFAULT false,
    -- The metadata in force, as JSON.
    metadata bytea
    -- Room for updates of `head` on the same page, which then touch no index.
) WITH (fillfactor = 70);

CREATE TABLE {schema}.events (
    position bigint PRIMARY KEY,
    stream_id bigint NOT NULL,
    revision bigint NOT NULL,
    -- Microseconds since 1970.
    recorded_at bigint NOT NULL,
    id uuid NOT NULL,
    type_id integer NOT NULL,
    category_id integer,
    -- On the first event of an append, the number of its events; 0 on the others.
    append_events integer NOT NULL,
    schema_version integer NOT NULL,
    -- NULL is JSON.
    content_type text,
    correlation_id text COLLATE "C",
    causation_id text COLLATE "C",
    -- Separated by zero bytes, which no tag has.
    tags bytea,
    metadata bytea,
    data bytea NOT NULL
);
CREATE UNIQUE INDEX events_of_stream ON {schema}.events (stream_id, revision);
CREATE INDEX events_by_id ON {schema}.events (id);
CREATE INDEX events_of_type ON {schema}.events (type_id, position);
CREATE INDEX events_of_category ON {schema}.events (category_id, position)
    WHERE category_id IS NOT NULL;
CREATE INDEX events_of_correlation ON {schema}.events (correlation_id, position)
    WHERE correlation_id IS NOT NULL;
CREATE INDEX events_of_causation ON {schema}.events (causation_id, position)
    WHERE causation_id IS NOT NULL;

CREATE TABLE {schema}.tags (
    tag text COLLATE "C",
    position bigint,
    PRIMARY KEY (tag, position)
);

-- Every n-th event of an ordinal index, so that a read starts near its ordinal.
CREATE TABLE {schema}.ordinal_marks (
    kind text COLLATE "C",
    key text COLLATE "C",
    ordinal bigint,
    position bigint NOT NULL,
    PRIMARY KEY (kind, key, ordinal)
);
