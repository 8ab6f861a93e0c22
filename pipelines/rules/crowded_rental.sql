-- rule: crowded_rental
-- title: 疑似群租房
-- version: 1
-- shape: row
-- level: dwelling
-- message: "{address}：{rooms}间房、登记{registered_count}人，按近14天水电气用量估计居住约{people}人，近90天隐患{hazards_90d}起（群租隔断{partition_hazards_90d}起），建议上门核查"
-- update_when: band, partition_seen
-- evidence: registration newest 1
-- evidence: water heaviest amount 3
-- evidence: electricity heaviest amount 3
-- evidence: gas heaviest amount 3
-- evidence: hazard newest 5
-- param days_min: 14
-- param water_m3_base: 0.03
-- param water_m3_person: 0.112
-- param kwh_base: 1.95
-- param kwh_person: 1.52
-- param gas_m3_base: 0.06
-- param gas_m3_person: 0.125
-- param gas_m3_none: 0.05
-- param apart_max: 1.5
-- param gas_low: 0.3
-- param gas_high: 1.1
-- param gas_weight: 0.4
-- param gas_agrees: 0.3
-- param people_min: 6
-- param partition_bonus: 2
-- param unregistered_margin: 1.2
-- param per_registered_min: 2
-- param per_room_min: 1.5
-- param keeps: 0.85
--
-- How many people do water, electricity and gas each speak of, by the region's norms (a base a day for the dwelling,
-- and so much a person)? One of them alone proves nothing: a leaking pipe runs, a heater burns, a salon washes. So
-- the estimate may not exceed the lower of water and electricity by half, and gas pulls it up or down, within limits,
-- where there is gas; where it speaks of far fewer people, only seen partitions count. The number speaks against what is registered and against the rooms, and only where the
-- dwelling is registered as let, or a grid worker has seen partitions in the last 90 days. A big registered family, a
-- dormitory that is registered, relatives who stay with the owner: none of them passes.
--
-- The highest two-week mean of the last two weeks raises the warning; it stays while the present mean speaks of at
-- least 85 % of the threshold. That is hysteresis in event time: whether it stands depends on the facts alone, and
-- not on the order in which they came.
WITH daily AS (
  SELECT place_id, rooms, registered_count, is_rental, hazards_90d, partition_hazards_90d, gas_days_30d,
         water_m3_30d, electricity_kwh_30d, gas_m3_30d,
         CAST(water_m3_day AS DOUBLE) AS water_now, CAST(water_m3_day_peak AS DOUBLE) AS water_peak,
         CAST(electricity_kwh_day AS DOUBLE) AS kwh_now, CAST(electricity_kwh_day_peak AS DOUBLE) AS kwh_peak,
         CAST(coalesce(gas_m3_day, 0) AS DOUBLE) AS gas_now, CAST(coalesce(gas_m3_day_peak, 0) AS DOUBLE) AS gas_peak
  FROM places
  WHERE registered_count IS NOT NULL AND rooms > 0 AND organisations = 0
    AND (is_rental OR partition_hazards_90d > 0)
    AND water_days_30d >= $days_min AND electricity_days_30d >= $days_min
),
each_speaks_of AS (
  SELECT *,
         greatest((water_peak - $water_m3_base) / $water_m3_person, 0.0) AS water_people_peak,
         greatest((kwh_peak - $kwh_base) / $kwh_person, 0.0) AS power_people_peak,
         greatest((gas_peak - $gas_m3_base) / $gas_m3_person, 0.0) AS gas_people_peak,
         greatest((water_now - $water_m3_base) / $water_m3_person, 0.0) AS water_people,
         greatest((kwh_now - $kwh_base) / $kwh_person, 0.0) AS power_people,
         greatest((gas_now - $gas_m3_base) / $gas_m3_person, 0.0) AS gas_people
  FROM daily
),
water_and_power AS (
  SELECT *,
         least((water_people_peak + power_people_peak) / 2, $apart_max * least(water_people_peak, power_people_peak)) AS both_peak,
         least((water_people + power_people) / 2, $apart_max * least(water_people, power_people)) AS both_now
  FROM each_speaks_of
),
together AS (
  SELECT *,
         CASE WHEN gas_peak <= $gas_m3_none THEN both_peak
              ELSE (1 - $gas_weight) * both_peak
                   + $gas_weight * least(greatest(gas_people_peak, $gas_low * both_peak), $gas_high * both_peak) END AS people_peak,
         CASE WHEN gas_now <= $gas_m3_none THEN both_now
              ELSE (1 - $gas_weight) * both_now
                   + $gas_weight * least(greatest(gas_people, $gas_low * both_now), $gas_high * both_now) END AS people_now
  FROM water_and_power
),
judged AS (
  SELECT *, CASE WHEN partition_hazards_90d > 0 THEN $people_min - $partition_bonus ELSE $people_min END AS threshold
  FROM together
)
SELECT place_id,
       CASE WHEN people_peak >= 11 AND partition_hazards_90d > 0 THEN 3
            WHEN people_peak >= 8 OR partition_hazards_90d > 0 THEN 2
            ELSE 1 END AS severity,
       round_people AS people, rooms, registered_count, is_rental, hazards_90d, partition_hazards_90d,
       water_m3_30d, electricity_kwh_30d, gas_m3_30d,
       water_people_peak AS people_by_water, power_people_peak AS people_by_electricity, gas_people_peak AS people_by_gas,
       people_now, threshold,
       partition_hazards_90d > 0 AS partition_seen,
       CASE WHEN people_peak >= 11 THEN 11 WHEN people_peak >= 8 THEN 8 ELSE 5 END AS band
FROM (SELECT *, CAST(people_peak + 0.5 AS BIGINT) AS round_people FROM judged)
WHERE people_peak >= threshold
  AND people_peak - registered_count >= threshold - $unregistered_margin
  AND people_peak >= $per_registered_min * registered_count
  AND people_peak >= $per_room_min * rooms
  AND people_now >= $keeps * threshold
  AND (gas_peak <= $gas_m3_none OR gas_people_peak >= $gas_agrees * both_peak OR partition_hazards_90d > 0)
