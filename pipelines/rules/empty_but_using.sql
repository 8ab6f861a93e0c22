-- rule: empty_but_using
-- title: 登记无人而持续用水用电
-- version: 1
-- shape: row
-- level: dwelling
-- message: "{address}：登记{registered_count}人，近30天用水{water_m3_30d}立方米、用电{electricity_kwh_30d}千瓦时，建议核对登记"
-- update_when: band
-- evidence: registration newest 1
-- evidence: water newest 1
-- evidence: electricity newest 1
-- param water_m3_day: 0.45
-- param kwh_day: 8
-- param days_min: 14
--
-- Nobody is registered and it is not registered as let, but somebody lives there: water and electricity together
-- (a leak has no electricity, a refrigerator no water). The higher mean of the last month keeps the warning while
-- the present mean is at least half of the threshold: it clears when people have gone, not on a quiet weekend.
WITH daily AS (
  SELECT place_id, registered_count, is_rental, water_m3_30d, electricity_kwh_30d,
         CAST(water_m3_30d AS DOUBLE) / water_days_30d AS water_day,
         CAST(electricity_kwh_30d AS DOUBLE) / electricity_days_30d AS kwh_day,
         CAST(water_m3_day_peak AS DOUBLE) AS water_peak,
         CAST(electricity_kwh_day_peak AS DOUBLE) AS kwh_peak
  FROM places
  WHERE registered_count = 0 AND NOT is_rental
    AND water_days_30d >= $days_min AND electricity_days_30d >= $days_min
)
SELECT place_id, 1 AS severity, registered_count, water_m3_30d, electricity_kwh_30d,
       CASE WHEN water_peak >= 4 * $water_m3_day THEN 2 ELSE 1 END AS band
FROM daily
WHERE water_peak >= $water_m3_day AND kwh_peak >= $kwh_day
  AND water_day >= 0.5 * $water_m3_day AND kwh_day >= 0.5 * $kwh_day
