-- rule: silent_meters
-- title: 登记在住而水表电表长期无读数
-- version: 1
-- shape: silence
-- level: dwelling
-- message: "{address}：登记{registered_count}人，水表自{water_last_on}、电表自{electricity_last_on}起再无读数，已满{days}天，而两家单位的数据仍在更新，建议核对表计与登记"
-- update_when: days
-- silent: water 30, 90
-- silent: electricity 30, 90
-- evidence: water newest 1
-- evidence: electricity newest 1
-- evidence: registration newest 1
--
-- A dwelling that is registered as let, or with people, and of which neither the water nor the electricity company has
-- reported anything for 30 days, while both went on reporting of others: its meters may be broken or exchanged, or the
-- registration is out of date. A reading of nothing is a reading: an empty flat whose meters work is not meant. Days are
-- counted by each company's own feed (docs/adr/0008), so that one that is down raises nothing; 30 days are beyond the
-- lateness that both contracts declare.
SELECT place_id,
       CASE WHEN days >= 90 THEN 2 ELSE 1 END AS severity,
       days, water_last_on, electricity_last_on, registered_count, is_rental
FROM (
  SELECT place_id, registered_count, is_rental, water_last_on, electricity_last_on,
         least(water_days, electricity_days) AS days
  FROM places JOIN silent USING (place_id)
  WHERE (registered_count > 0 OR is_rental) AND water_days IS NOT NULL AND electricity_days IS NOT NULL
)
