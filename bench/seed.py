"""Fills a database that the service has created with plausible calls, by SQL: a year of them, some reps
and agencies far busier than others, most scored. The same number of calls gives the same rows, except
that the year ends now."""
import json
import random
import sqlite3
import string
import time
from collections import Counter
from itertools import accumulate

DRILLS = ["ma-full-sale", "ma-objection-handling", "ma-needs-analysis", "ms-full-sale", "fe-closing"]
ID_CHARS = string.ascii_letters + string.digits + "_-"
YEAR_MS = 365 * 24 * 3600 * 1000
BATCH = 20_000


def insert(db, table, rows):
    """Inserts dicts; columns the table does not have are left out, so that the schema may move on."""
    columns = [c[1] for c in db.execute(f"PRAGMA table_info({table})") if c[1] in rows[0]]
    sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    db.executemany(sql, [[row[c] for c in columns] for row in rows])


def make_call(rng, seq, rep, agency, ended_at):
    status = rng.choices(("scored", "unscored", "processing"), (92, 6, 2))[0]
    secs, scored = rng.randint(60, 1500), status == "scored"
    return {
        "seq": seq, "rev": seq, "id": "athos_call_" + "".join(rng.choices(ID_CHARS, k=21)), "status": status,
        "source": "roleplay", "rep": rep, "agency": agency, "drill_key": rng.choice(DRILLS) if scored else None,
        "started_at": ended_at - secs * 1000 if scored else None, "ended_at": ended_at if scored else None,
        "duration_sec": secs if scored else None, "scored_at": ended_at + 90_000 if scored else None,
        "overall_score": float(rng.randint(35, 98)) if scored else None, "compliance_percent": None,
        "reason": "SCORING_INCOMPLETE" if status == "unscored" else None,
        "reason_message": "Scoring did not complete." if status == "unscored" else None,
        "sort_at": ended_at, "athos_rep": None, "athos_agency": None,
    }


def make_detail(call):
    """About a kilobyte, so that the pages of details lie between those of the calls as they do in use."""
    turns = [{"role": r, "content": "Thanks for taking my call, this is about the plan you asked us to look at. " * 2}
             for r in ("user", "assistant") * 2]
    raw = {"id": call["id"], "status": "scored", "transcript": turns,
           "score": {"overallScore": call["overall_score"], "summary": "Clear opening, weak close.", "feedback": ""}}
    return {"call_seq": call["seq"], "raw": json.dumps(raw), "has_recording": 0, "fetched_at": call["scored_at"]}


def fill(path, calls):
    """Returns a rep with a middling number of calls, at least a page of them, and that rep's agency."""
    rng, now = random.Random(calls), int(time.time() * 1000)
    reps = max(20, round(2 * calls ** 0.5))  # 200 for 10 000 calls, 2 000 for 1 000 000
    agencies = max(2, reps // 20)
    weights = list(accumulate(1 / (i + 10) ** 0.8 for i in range(reps)))
    agency_of = {f"rep_{i}": f"agency_{i % agencies}" for i in range(reps)}
    names, count = list(agency_of), Counter()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -400000")
    for first in range(0, calls, BATCH):
        rows = []
        for seq in range(first + 1, min(first + BATCH, calls) + 1):
            rep = rng.choices(names, cum_weights=weights)[0]
            count[rep] += 1
            ended_at = now - YEAR_MS + YEAR_MS * seq // calls - rng.randint(0, 600_000)  # webhooks come a little out of order
            rows.append(make_call(rng, seq, rep, agency_of[rep], ended_at))
        db.execute("BEGIN")
        insert(db, "calls", rows)
        insert(db, "call_details", [make_detail(c) for c in rows if c["status"] == "scored"])
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    busy_enough = sorted((n, rep) for rep, n in count.items() if n >= 50)
    rep = busy_enough[len(busy_enough) // 2][1]
    return rep, agency_of[rep]
