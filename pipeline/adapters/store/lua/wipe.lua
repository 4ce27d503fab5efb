-- wipe(p): remove some keys of a partition whose gate is closed.
--
-- KEYS[1]      ledger:{p}, deleted before this is first called
-- KEYS[2...]   keys to remove, at most 1000
--
-- Reply: 1 removed, 0 somebody has begun to rebuild the view since, and nothing is removed.
-- Invariant: what was written behind an open gate is never removed, however late this wipe is.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('UNLINK', unpack(KEYS, 2))
return 1
