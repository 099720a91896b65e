//! Progress in SQL: aggregates of the scored calls of each rep and drill, one source at a time.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite};

use super::readers::ReadPool;
use super::rows::push_filter;
use crate::model::Timestamp;
use crate::store::{Progress, ProgressFilter, ScorePoint, StoreResult};

type Pair = (Option<String>, Option<String>);

/// The headline score; a score of 0 says that there is none.
const HEADLINE: &str = "nullif(overall_score, 0)";

pub(super) async fn of_reps(
    readers: &ReadPool,
    filter: &ProgressFilter,
    limit: u32,
    points: u32,
) -> StoreResult<Vec<Progress>> {
    let mut sql = QueryBuilder::<Sqlite>::new(format!(
        "SELECT coalesce(rep, athos_rep) AS rep, drill_key, count({HEADLINE}) AS calls, avg({HEADLINE}) AS mean, \
         max({HEADLINE}) AS best, count(compliance_percent) AS assessed, \
         avg(compliance_percent) AS compliance FROM calls"
    ));
    push_conditions(&mut sql, filter);
    sql.push(format!(
        " AND ({HEADLINE} IS NOT NULL OR compliance_percent IS NOT NULL)"
    ));
    sql.push(
        " GROUP BY coalesce(rep, athos_rep), drill_key \
         ORDER BY max(sort_at) DESC, coalesce(rep, athos_rep), drill_key LIMIT ",
    )
    .push_bind(limit);
    let sums = sql.build().fetch_all(readers).await?;

    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT rep, drill_key, id, sort_at, overall_score FROM ( \
           SELECT coalesce(rep, athos_rep) AS rep, drill_key, id, sort_at, seq, overall_score, row_number() OVER \
             (PARTITION BY coalesce(rep, athos_rep), drill_key ORDER BY sort_at DESC, seq DESC) AS age FROM calls",
    );
    push_conditions(&mut sql, filter);
    sql.push(format!(" AND {HEADLINE} IS NOT NULL"));
    sql.push(") AS numbered WHERE age <= ")
        .push_bind(points)
        .push(" ORDER BY sort_at, seq");
    let mut latest: HashMap<Pair, Vec<ScorePoint>> = HashMap::new();
    for row in sql.build().fetch_all(readers).await? {
        let pair = (row.get("rep"), row.get("drill_key"));
        latest.entry(pair).or_default().push(ScorePoint {
            id: row.get("id"),
            ended_at: Timestamp::from_millis(row.get("sort_at")),
            score: row.get("overall_score"),
        });
    }

    let progress = sums.iter().map(|row| {
        let pair: Pair = (row.get("rep"), row.get("drill_key"));
        let points = latest.remove(&pair).unwrap_or_default();
        Progress {
            rep: pair.0,
            drill_key: pair.1,
            count: row.get("calls"),
            mean: row.get("mean"),
            best: row.get("best"),
            compliance_count: row.get("assessed"),
            compliance_mean: row.get("compliance"),
            points,
        }
    });
    Ok(progress.collect())
}

fn push_conditions(sql: &mut QueryBuilder<Sqlite>, filter: &ProgressFilter) {
    sql.push(" WHERE status = 'scored' AND source = ")
        .push_bind(filter.source.as_str());
    push_filter(
        sql,
        &filter.scope,
        [&filter.rep, &filter.agency],
        [filter.from, filter.to],
    );
}
