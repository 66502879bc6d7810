/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time as text, by civil-calendar arithmetic of our own: the same on every system, with
 * no time zone data and no locale.
 */
#include "timefmt.h"

#include <stdio.h>

#define NS_PER_SECOND INT64_C(1000000000)
#define DAY_SECONDS   INT64_C(86400)

/* Days since 1970-01-01; years begin in March here, so that the leap day is a year's last. */
static int64_t days_from_civil(int64_t year, int month, int day)
{
	int64_t y = year - (month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
	       day_of_year - 719468;
}

static void civil_from_days(int64_t days, int64_t *year, unsigned char *month, unsigned char *day)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;

	*day = (unsigned char)(doy - (153 * mp + 2) / 5 + 1);
	*month = (unsigned char)(mp < 10 ? mp + 3 : mp - 9);
	*year = yoe + era * 400 + (*month <= 2);
}

void kiln__time_format(int64_t realtime_ns, char text[KILN__TIME_TEXT])
{
	int64_t seconds = realtime_ns / NS_PER_SECOND;
	int64_t ns = realtime_ns % NS_PER_SECOND;
	int64_t days;
	int64_t year;
	unsigned char month;
	unsigned char day;
	unsigned rest;

	if (ns < 0) {
		ns += NS_PER_SECOND;
		seconds--;
	}
	days = seconds / DAY_SECONDS;
	if (seconds % DAY_SECONDS < 0)
		days--;
	rest = (unsigned)(seconds - days * DAY_SECONDS);
	civil_from_days(days, &year, &month, &day);
	snprintf(text, KILN__TIME_TEXT, "%04d-%02hhu-%02hhuT%02hhu:%02hhu:%02hhu.%09dZ", (int)year,
		 month, day, (unsigned char)(rest / 3600), (unsigned char)(rest / 60 % 60),
		 (unsigned char)(rest % 60), (int)ns);
}

int64_t kiln__time_parse(const char *text)
{
	int year, month, day, hour, minute, second, used = 0;
	int64_t ns = 0;
	int64_t scale = NS_PER_SECOND;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second,
		   &used) != 6 ||
	    month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 || minute < 0 ||
	    minute > 59 || second < 0 || second > 60)
		return -1;
	text += used;
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9'; text++)
			if (scale > 1) {
				scale /= 10;
				ns += (*text - '0') * scale;
			}
	if (text[0] != 'Z' || text[1])
		return -1;
	return (days_from_civil(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 +
		second) *
		       NS_PER_SECOND +
	       ns;
}
