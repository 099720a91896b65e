//! Numbers as Athos writes them: whole ones without a fraction, so that a score reads the same in a list and in Athos's
//! own JSON.

use serde::Serializer;

/// Writes a number, or `null`, for `serialize_with`.
pub(in crate::http) fn plain<S, N>(number: &N, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    N: Copy + Into<Option<f64>>,
{
    /// Beyond it an `f64` is not exact, and a fraction says nothing.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match (*number).into() {
        None => serializer.serialize_none(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole, and within the range"
        )]
        Some(number) if number.fract() == 0.0 && number.abs() < EXACT => {
            serializer.serialize_i64(number as i64)
        }
        Some(number) => serializer.serialize_f64(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_no_fraction_and_others_keep_theirs() {
        #[derive(serde::Serialize)]
        struct Row(
            #[serde(serialize_with = "plain")] f64,
            #[serde(serialize_with = "plain")] Option<f64>,
            #[serde(serialize_with = "plain")] Option<f64>,
            #[serde(serialize_with = "plain")] f64,
        );
        let row = Row(61.0, Some(61.5), None, 1e300);
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            "[61,61.5,null,1e+300]"
        );
    }
}
