-- Version 1. `log` is the history that watchers catch up from; a null value is a deletion.
CREATE TABLE kv (
    key      TEXT PRIMARY KEY,
    value    BLOB NOT NULL,
    revision INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE log (
    revision INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    key      TEXT NOT NULL,
    value    BLOB,
    PRIMARY KEY (revision, seq)
) WITHOUT ROWID;

-- epoch, tip, compacted
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;
