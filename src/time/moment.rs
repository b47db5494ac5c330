//! Moments as people write and read them.

use std::time::Duration;

use super::Timestamp;

/// `15m` (ago), RFC 3339, `YYYY-MM-DD HH:MM:SS[.ffffff]` (UTC), `now`, `today`, `Mega.Sec.Micro`, `{Mega,Sec,Micro}`,
/// and microseconds since the epoch, as `export` writes them.
///
/// # Errors
///
/// A sentence with the forms that there are.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let ago = |span: Duration| now.saturating_sub(span);
    const DAY: u64 = 86_400_000_000;
    match text {
        "now" => return Ok(now),
        "today" => return Ok(Timestamp::from_micros(now.micros() / DAY * DAY)),
        _ => {}
    }
    if let Ok(micros) = text.parse() {
        return Ok(Timestamp::from_micros(micros));
    }
    let parts = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let triple = match parts {
        Some(parts) => triple(parts, ','),
        None => triple(text, '.'),
    };
    if let Some(stamp) = triple {
        return Ok(stamp);
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(from_jiff(moment));
    }
    if let Ok(civil) = text.parse::<jiff::civil::DateTime>()
        && let Ok(moment) = civil.to_zoned(jiff::tz::TimeZone::UTC)
    {
        return Ok(from_jiff(moment.timestamp()));
    }
    humantime::parse_duration(text).map(ago).map_err(|_| {
        format!(
            "{text:?} is no moment: write 15m, 2h or 7d (ago), 2026-11-22T10:30:00Z, \"2026-11-22 10:30:00\" (UTC), now, today, {{Mega,Sec,Micro}}, or microseconds since 1970"
        )
    })
}

/// RFC 3339 with microseconds, in UTC: `2026-11-22T10:31:02.123456Z`. What is later than its years, which end with 9999, is
/// written `Mega.Sec.Micro`; [`parse`] reads both.
pub fn rfc3339(moment: Timestamp) -> String {
    let micros = i64::try_from(moment.micros()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(moment) => format!("{moment:.6}"),
        Err(_) => moment.to_string(),
    }
}

fn triple(text: &str, separator: char) -> Option<Timestamp> {
    let mut parts = text.split(separator).map(|part| part.trim().parse::<i64>().ok());
    let (mega, secs, micros) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() { None } else { Timestamp::from_parts(mega, secs, micros) }
}

fn from_jiff(moment: jiff::Timestamp) -> Timestamp {
    Timestamp::from_micros(u64::try_from(moment.as_microsecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let now = Timestamp::from_micros(1_795_343_462_123_456);
        let check =
            |text: &str, micros| assert_eq!(parse(text, now).unwrap().micros(), micros, "{text}");
        check("now", now.micros());
        check("1795343462123456", now.micros());
        check("15m", now.micros() - 900_000_000);
        check("7d", now.micros() - 7 * 86_400_000_000);
        check("today", 1_795_305_600_000_000);
        check("1795.343462.123456", now.micros());
        check("{1795, 343462,123456}", now.micros());
        check("2026-11-22T10:31:02.123456Z", now.micros());
        check("2026-11-22T11:31:02.123456+01:00", now.micros());
        check("2026-11-22 10:31:02.123456", now.micros());
        check("2026-11-22 10:31:02", 1_795_343_462_000_000);
        assert_eq!(rfc3339(now), "2026-11-22T10:31:02.123456Z");
        assert_eq!(rfc3339(Timestamp::MIN), "1970-01-01T00:00:00.000000Z");
        for moment in [now, Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(parse(&rfc3339(moment), now), Ok(moment));
        }
        for bad in ["", "soon", "1.2", "2026-13-01 00:00:00", "-1", "12 parsecs"] {
            assert!(parse(bad, now).unwrap_err().contains("is no moment"), "{bad}");
        }
    }
}
