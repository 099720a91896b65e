-- Nothing here: PostgreSQL compares with the words of a list as they stand.
SELECT 1;
