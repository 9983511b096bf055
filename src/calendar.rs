//! The Gregorian calendar, in whole days since 1970.

/// The days from 1970 to this date, which must exist; `month` and `day` count from one.
#[must_use]
pub fn days_to(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that the leap day is the last of its year.
    let march_year = if month > 2 { year } else { year - 1 };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days =
        march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    march_year * 365 + leap_days + day_of_year - FROM_YEAR_0
}

/// The year and the month, counted from one, of a day so many days after 1970.
#[must_use]
pub fn month_of(days: i64) -> (i64, i64) {
    let days = days + FROM_YEAR_0;
    let cycle = days.div_euclid(CYCLE);
    let day = days.rem_euclid(CYCLE);
    let year_of_cycle = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = (month_from_march + 2) % 12 + 1;
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month)
}

/// The days from the first of March of year 0 to the first of January 1970.
const FROM_YEAR_0: i64 = 719_468;
/// The days of 400 years, after which leap years come again in the same order.
const CYCLE: i64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_a_thousand_years_lies_in_its_month() {
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut days = days_to(1600, 1, 1);
        for year in 1600..2600 {
            let february = if is_leap(year) { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(lengths) {
                for day in 1..=length {
                    assert_eq!(days_to(year, month, day), days, "{year}-{month}-{day}");
                    assert_eq!(month_of(days), (year, month), "{year}-{month}-{day}");
                    days += 1;
                }
            }
        }
        assert_eq!(days_to(1970, 1, 1), 0);
    }
}
