//! `datetime.now().strftime`, in UTC and English.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Formats a time in seconds since 1970 by C's `strftime` codes, `-` for no padding included.
///
/// # Errors
/// Names the code that is not known.
pub(super) fn format_utc(format: &str, unix_seconds: u64) -> Result<String, String> {
    let (year, month, day) = civil_from_days(unix_seconds / 86400);
    let second_of_day = unix_seconds % 86400;
    let (hour, minute, second) =
        (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let weekday = DAYS[(unix_seconds / 86400 % 7) as usize];
    let month_name = MONTHS[month as usize - 1];
    let hour12 = (hour + 11) % 12 + 1;
    let half = if hour < 12 { "AM" } else { "PM" };

    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = rest.next();
        let padded = code != Some('-');
        if !padded {
            code = rest.next();
        }
        let two = |n: u64| if padded { format!("{n:02}") } else { n.to_string() };
        let field = match code {
            Some('Y') => year.to_string(),
            Some('y') => two(year % 100),
            Some('m') => two(month),
            Some('d') => two(day),
            Some('e') => format!("{day:2}"),
            Some('H') => two(hour),
            Some('I') => two(hour12),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('p') => half.to_owned(),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => month_name[..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => return Err(format!("strftime code %{other} is not supported")),
            None => return Err("strftime format ends with %".to_owned()),
        };
        out.push_str(&field);
    }
    Ok(out)
}

/// Year, month and day of a day count since 1970-01-01 in the Gregorian calendar, counted in eras
/// of 400 years that begin in March, so that the leap day comes last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values from Python's datetime.fromtimestamp(t, UTC).strftime(format).
    #[test]
    fn known_times() {
        let all = "%Y-%m-%d %H:%M:%S %A %a %B %b %-d %e %I %p %y %%";
        for (time, expected) in [
            (0, "1970-01-01 00:00:00 Thursday Thu January Jan 1  1 12 AM 70 %"),
            (951_782_399, "2000-02-28 23:59:59 Monday Mon February Feb 28 28 11 PM 00 %"),
            (951_782_400, "2000-02-29 00:00:00 Tuesday Tue February Feb 29 29 12 AM 00 %"),
            (1_735_689_599, "2024-12-31 23:59:59 Tuesday Tue December Dec 31 31 11 PM 24 %"),
            (4_107_542_400, "2100-03-01 00:00:00 Monday Mon March Mar 1  1 12 AM 00 %"),
        ] {
            assert_eq!(format_utc(all, time).unwrap(), expected);
        }
        assert!(format_utc("%Q", 0).unwrap_err().contains("%Q"));
        assert!(format_utc("x%", 0).is_err());
    }
}
