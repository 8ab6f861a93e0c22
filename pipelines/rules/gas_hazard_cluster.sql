-- rule: gas_hazard_cluster
-- title: 同一地点多次燃气或火灾隐患
-- version: 1
-- shape: facts
-- message: "{address}：半年内上报燃气、用电或消防隐患{hazards}起，最高严重程度{worst}，建议上门检查"
-- update_when: band
-- evidence: hazard newest 5
-- param hazards_min: 3
-- param worst_min: 3
-- param window: 180 days
--
-- Several reports about gas, wiring or fire at one place within half a year, one of them serious. The window ends at
-- the place's latest report, so that the result depends on the facts and not on the day of the evaluation.
WITH dangerous AS (
  SELECT place_id, category, severity, valid_from,
         max(valid_from) OVER (PARTITION BY place_id) AS latest_at
  FROM fact_hazard
  WHERE category LIKE '%气%' OR category LIKE '%火%' OR category LIKE '%电%' OR category LIKE '%消防%'
),
counted AS (
  SELECT place_id, count(*) AS hazards, count(DISTINCT category) AS categories, max(severity) AS worst
  FROM dangerous
  WHERE valid_from > latest_at - CAST($window AS INTERVAL)
  GROUP BY place_id
)
SELECT place_id,
       CASE WHEN worst >= 5 THEN 3 WHEN worst >= 4 THEN 2 ELSE 1 END AS severity,
       hazards, categories, worst,
       CASE WHEN hazards >= 10 THEN 10 WHEN hazards >= 5 THEN 5 ELSE 3 END AS band
FROM counted
WHERE hazards >= $hazards_min AND worst >= $worst_min
