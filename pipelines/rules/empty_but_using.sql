-- rule: empty_but_using
-- title: 登记无人而多人用水用电
-- version: 1
-- shape: row
-- level: dwelling
-- message: "{address}：未登记居住人员，近14天日均用水{water_day}立方米、用电{kwh_day}千瓦时，建议核对登记"
-- update_when: band
-- evidence: registration newest 1
-- evidence: water newest 1
-- evidence: electricity newest 1
-- param water_m3_day: 0.45
-- param kwh_day: 8
-- param days_min: 14
-- param keeps: 0.7
--
-- Nobody is registered and it is not registered as let, but several people live there: water and electricity
-- together (a leak has no electricity, a heater no water). The highest mean of the last two weeks raises it, and the
-- present mean keeps it down to 70 % of the threshold: so it clears when people have gone, not on a quiet weekend,
-- and whether it stands depends on the facts alone.
WITH daily AS (
  SELECT place_id, registered_count, hazards_90d, water_days_30d, electricity_days_30d,
         CAST(water_m3_day AS DOUBLE) AS water_day,
         CAST(electricity_kwh_day AS DOUBLE) AS kwh_day,
         CAST(water_m3_day_peak AS DOUBLE) AS water_peak,
         CAST(electricity_kwh_day_peak AS DOUBLE) AS kwh_peak
  FROM places
  WHERE registered_count = 0 AND NOT is_rental
    AND water_days_30d >= $days_min AND electricity_days_30d >= $days_min
)
SELECT place_id, 1 AS severity, registered_count, water_day, kwh_day, water_peak, kwh_peak,
       CASE WHEN water_peak >= 2.5 * $water_m3_day THEN 2 ELSE 1 END AS band
FROM daily
WHERE water_peak >= $water_m3_day AND kwh_peak >= $kwh_day
  AND water_day >= $keeps * $water_m3_day AND kwh_day >= $keeps * $kwh_day
