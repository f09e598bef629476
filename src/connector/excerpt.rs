//! The start of a response, fit to be shown: short, on one line, and without what the request kept secret. Endpoints
//! that echo what they were sent are common in error pages.

use crate::ledger::ConnectorSecrets;
use crate::model::limits;

/// Bytes that are looked at; more than what is shown, because hiding makes text shorter.
pub(super) const LOOKED_AT: usize = 4 << 10;
/// What stands in a secret's place.
const HIDDEN: &str = "…";

/// What may be shown of a response that begins with `bytes`; `cut` where more came than was looked at.
pub(super) fn excerpt(bytes: &[u8], cut: bool, secrets: &ConnectorSecrets) -> String {
    let hidden = hidden(secrets);
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    for secret in &hidden {
        text = text.replace(secret.as_str(), HIDDEN);
    }
    // Before a cut a secret may have begun whose rest nobody sees: the end is not shown.
    let doubtful = if cut { hidden.first().map_or(0, String::len) } else { 0 };
    let shown = text.chars().count().saturating_sub(doubtful).min(limits::MAX_RESPONSE_START);
    let one_line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    one_line.take(shown).collect::<String>().trim_end().to_owned()
}

/// Everything that must not be shown, the longest first: a part must not break up the whole before it is found.
fn hidden(secrets: &ConnectorSecrets) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (_, value) in &secrets.headers {
        // Behind a scheme, as in `Bearer abc`, the credentials are secret for themselves.
        let credentials = value.split_once(' ').map(|(_, credentials)| credentials.trim());
        for text in std::iter::once(value.as_str()).chain(credentials) {
            found.push(text.to_owned());
            let quoted = serde_json::Value::from(text).to_string();
            found.push(quoted.trim_matches('"').to_owned());
        }
    }
    let signing = std::iter::once(&secrets.signing).chain(secrets.retiring.iter().map(|(secret, _)| secret));
    found.extend(signing.map(|secret| secret.reveal().trim_start_matches("whsec_").to_owned()));
    found.retain(|text| !text.is_empty());
    found.sort_by_key(|text| std::cmp::Reverse(text.len()));
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::SigningSecret;

    fn secrets(value: &str) -> ConnectorSecrets {
        ConnectorSecrets::new(vec![("authorization".into(), value.into())], SigningSecret::random())
    }

    #[test]
    fn what_the_request_kept_secret_is_not_shown() {
        let secrets = secrets("Bearer a\"bc123");
        let signing = secrets.signing.reveal();
        let echoed =
            format!("{{\"auth\":\"Bearer a\\\"bc123\",\"token\":\"a\\\"bc123\",\"key\":\"{signing}\"}} a\"bc123");
        let shown = excerpt(echoed.as_bytes(), false, &secrets);
        assert_eq!(shown, r#"{"auth":"…","token":"…","key":"whsec_…"} …"#);
    }

    #[test]
    fn a_secret_that_the_cut_goes_through_is_not_shown_either() {
        let secret: String = (0..100).map(|n| format!("<{n}>")).collect();
        let secrets = secrets(&secret);
        // Hidden copies make the text short enough that its end would be seen.
        for left in [1, 50, secret.len() - 1] {
            let body = format!("{}{}", secret.repeat(9), &secret[..left]);
            assert!(!excerpt(body.as_bytes(), true, &secrets).contains('<'), "{left}");
        }
        let body = format!("{} {}", secret, "x".repeat(1_000));
        assert!(excerpt(body.as_bytes(), true, &secrets).starts_with("… xxx"));
    }

    #[test]
    fn it_is_short_and_on_one_line() {
        let shown = excerpt(format!("a\r\n\x1b[31mb{}", "é".repeat(1_000)).as_bytes(), false, &secrets("x"));
        assert_eq!(shown.chars().count(), limits::MAX_RESPONSE_START);
        assert!(shown.starts_with("a   [31mbé"), "{shown}");
    }
}
