-- SQLite puts a list of more than two words into a temporary table each time it checks a row against it. The same words, as
-- comparisons. This changes nothing in the rows, so the schema's text is edited in place, as SQLite's documentation
-- describes for CHECK constraints (ALTER TABLE, "Making Other Kinds Of Table Schema Changes").
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, 'CHECK (state IN (''pending'', ''processing'', ''done'', ''ignored'', ''dead''))',
        'CHECK (state = ''pending'' OR state = ''processing'' OR state = ''done'' OR state = ''ignored'' OR state = ''dead'')')
    WHERE type = 'table' AND name = 'events';
UPDATE sqlite_schema
    SET sql = replace(sql, 'CHECK (status IN (''processing'', ''scored'', ''unscored''))',
        'CHECK (status = ''processing'' OR status = ''scored'' OR status = ''unscored'')')
    WHERE type = 'table' AND name = 'calls';
UPDATE sqlite_schema
    SET sql = replace(sql, 'CHECK (outcome IN (''scored'', ''unscored'', ''retry'', ''dead'', ''ignored''))',
        'CHECK (outcome = ''scored'' OR outcome = ''unscored'' OR outcome = ''retry'' OR outcome = ''dead'' OR outcome = ''ignored'')')
    WHERE type = 'table' AND name = 'attempts';
UPDATE sqlite_schema
    SET sql = replace(sql, 'CHECK (state IN (''waiting'', ''sending'', ''delivered'', ''failed'', ''superseded''))',
        'CHECK (state = ''waiting'' OR state = ''sending'' OR state = ''delivered'' OR state = ''failed'' OR state = ''superseded'')')
    WHERE type = 'table' AND name = 'messages';
PRAGMA writable_schema = RESET;
