//! The grammar of PROTOCOL.md section 1 as schemas: words that every path shares.
#![allow(dead_code, reason = "these types say what texts look like; the model checks them")]

use utoipa::ToSchema;

/// A channel that users publish on: 1 to 16 tokens joined by `.`.
#[derive(ToSchema)]
#[schema(pattern = r"^[A-Za-z0-9_:@-]+(\.[A-Za-z0-9_:@-]+){0,15}$", max_length = 255, example = "key.activated")]
pub(in crate::api) struct Channel(String);

/// A channel as it is read: also one of the broker's own, which begin with `$`.
#[derive(ToSchema)]
#[schema(pattern = r"^\$?[A-Za-z0-9_:@-]+(\.[A-Za-z0-9_:@-]+){0,15}$", max_length = 255, example = "key.activated")]
pub(in crate::api) struct AnyChannel(String);

/// What a listener asks for: `*` stands for one whole token, `**`, only as the last one, for one or more.
#[derive(ToSchema)]
#[schema(
    pattern = r"^(\*\*|(\$?[A-Za-z0-9_:@-]+|\*)(\.([A-Za-z0-9_:@-]+|\*)){0,14}(\.([A-Za-z0-9_:@-]+|\*\*?))?)$",
    max_length = 255,
    example = "key.*"
)]
pub(in crate::api) struct Pattern(String);

/// One pattern, or several with commas between them.
#[derive(ToSchema)]
#[schema(
    pattern = r"^(\*\*|(\$?[A-Za-z0-9_:@-]+|\*)(\.([A-Za-z0-9_:@-]+|\*)){0,14}(\.([A-Za-z0-9_:@-]+|\*\*?))?)(,(\*\*|(\$?[A-Za-z0-9_:@-]+|\*)(\.([A-Za-z0-9_:@-]+|\*)){0,14}(\.([A-Za-z0-9_:@-]+|\*\*?))?))*$",
    example = "key.*,policy.approved"
)]
pub(in crate::api) struct PatternList(String);

/// A subscriber's or connector's name; they share one namespace.
#[derive(ToSchema)]
#[schema(pattern = r"^[A-Za-z0-9_.:@-]{1,128}$", example = "ui-dashboard")]
pub(in crate::api) struct Name(String);

/// An event's id: visible ASCII.
#[derive(ToSchema)]
#[schema(pattern = r"^[!-~]{1,128}$", example = "019a9f3e-5d1c-7c4e-9d51-2f0a7d1b6c11")]
pub(in crate::api) struct EventId(String);

/// An ordering key: 1 to 255 bytes without control characters.
#[derive(ToSchema)]
#[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", max_length = 255, example = "openai_primary")]
pub(in crate::api) struct Key(String);

/// Digits and `ms`, `s`, `m`, `h` or `d`.
#[derive(ToSchema)]
#[schema(pattern = r"^[0-9]+(ms|s|m|h|d)$", example = "30s")]
pub(in crate::api) struct Duration(String);

/// RFC 3339, UTC, microseconds.
#[derive(ToSchema)]
#[schema(format = DateTime, example = "2026-11-21T21:36:33.123456Z")]
pub(in crate::api) struct Time(String);

/// An event's place in the log.
#[derive(ToSchema)]
#[schema(minimum = 0, format = "uint64", example = 42)]
pub(in crate::api) struct Offset(u64);

/// An offset, as a number or a string of digits.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum OffsetInput {
    Number(Offset),
    Digits(Digits),
}

/// An offset as text.
#[derive(ToSchema)]
#[schema(pattern = r"^[0-9]+$", example = "42")]
pub(in crate::api) struct Digits(String);

/// A place in the log: an offset (number or digits), a time (the first event at or after it), `earliest` or `latest`.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum Where {
    Offset(Offset),
    Place(Place),
}

/// A place as text: an offset's digits, an RFC 3339 time, `earliest` or `latest`.
#[derive(ToSchema)]
#[schema(
    pattern = r"^(earliest|latest|[0-9]+|[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))$",
    example = "earliest"
)]
pub(in crate::api) struct Place(String);

/// So many a second, minute or hour.
#[derive(ToSchema)]
#[schema(pattern = r"^[1-9][0-9]{0,8}/[smh]$", example = "100/s")]
pub(in crate::api) struct Rate(String);

/// A signing secret of Standard Webhooks: 24 to 64 bytes in base64.
#[derive(ToSchema)]
#[schema(pattern = r"^whsec_([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
pub(in crate::api) struct Secret(String);

/// Any bytes.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(in crate::api) struct Binary(Vec<u8>);
