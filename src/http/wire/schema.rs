//! How values of `athos-api` look in the OpenAPI document.

use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A moment: ISO 8601 with milliseconds.
pub(in crate::http) struct Timestamp;

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples(["2026-06-05T18:09:14.000Z"])
            .build()
            .into()
    }
}

impl ToSchema for Timestamp {}

/// One of a company's own ids.
#[derive(ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 200, example = "rep_8842")]
#[expect(dead_code, reason = "only its schema is used")]
pub(in crate::http) struct PlatformId(String);
