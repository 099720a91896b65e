//! Progress in SQL: aggregates of the scored calls of each rep and drill, one source at a time.

use std::collections::HashMap;

use super::rows::push_filter;
use super::{Connection, Statement};
use crate::store::{Progress, ProgressFilter, ScorePoint, StoreResult};

type Pair = (Option<String>, Option<String>);

/// The headline score; a score of 0 says that there is none.
const HEADLINE: &str = "nullif(overall_score, 0)";

pub(super) fn of_reps(
    db: &dyn Connection,
    filter: &ProgressFilter,
    limit: u32,
    points: u32,
) -> StoreResult<Vec<Progress>> {
    let mut sql = Statement::new(format!(
        "SELECT coalesce(rep, athos_rep) AS rep, drill_key, count({HEADLINE}) AS calls, avg({HEADLINE}) AS mean, \
         max({HEADLINE}) AS best, count(compliance_percent) AS assessed, \
         avg(compliance_percent) AS compliance FROM calls"
    ));
    push_conditions(&mut sql, filter);
    sql.push(&format!(
        " AND ({HEADLINE} IS NOT NULL OR compliance_percent IS NOT NULL)"
    ));
    sql.push(
        " GROUP BY coalesce(rep, athos_rep), drill_key \
         ORDER BY max(sort_at) DESC, coalesce(rep, athos_rep), drill_key LIMIT ",
    )
    .push_bind(limit);
    let mut progress = sql.rows(db, |row| {
        let mut columns = row.from(0);
        Ok(Progress {
            rep: columns.next()?,
            drill_key: columns.next()?,
            count: columns.next()?,
            mean: columns.next()?,
            best: columns.next()?,
            compliance_count: columns.next()?,
            compliance_mean: columns.next()?,
            points: Vec::new(),
        })
    })?;

    let mut sql = Statement::new(
        "SELECT rep, drill_key, id, sort_at, overall_score FROM ( \
           SELECT coalesce(rep, athos_rep) AS rep, drill_key, id, sort_at, seq, overall_score, row_number() OVER \
             (PARTITION BY coalesce(rep, athos_rep), drill_key ORDER BY sort_at DESC, seq DESC) AS age FROM calls",
    );
    push_conditions(&mut sql, filter);
    sql.push(&format!(" AND {HEADLINE} IS NOT NULL"));
    sql.push(") AS numbered WHERE age <= ")
        .push_bind(points)
        .push(" ORDER BY sort_at, seq");
    let mut latest: HashMap<Pair, Vec<ScorePoint>> = HashMap::new();
    let points = sql.rows(db, |row| {
        let pair: Pair = (row.get(0)?, row.get(1)?);
        let point = ScorePoint {
            id: row.get(2)?,
            ended_at: row.get(3)?,
            score: row.get(4)?,
        };
        Ok((pair, point))
    })?;
    for (pair, point) in points {
        latest.entry(pair).or_default().push(point);
    }
    for each in &mut progress {
        let pair = (each.rep.clone(), each.drill_key.clone());
        each.points = latest.remove(&pair).unwrap_or_default();
    }
    Ok(progress)
}

fn push_conditions<'a>(sql: &mut Statement<'a>, filter: &'a ProgressFilter) {
    sql.push(" WHERE status = 'scored' AND source = ")
        .push_bind(filter.source.as_str());
    push_filter(
        sql,
        &filter.scope,
        [&filter.rep, &filter.agency],
        [filter.from, filter.to],
    );
}
