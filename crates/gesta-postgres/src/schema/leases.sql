-- Leases of nodes. A row is never deleted, because its token has to go on growing.
CREATE TABLE {schema}.leases (
    name text COLLATE "C" PRIMARY KEY,
    token bigint NOT NULL,
    -- NULL after a release.
    node text,
    expires_at timestamptz NOT NULL
);
