-- restore(p): fill a wiped view with a snapshot, in parts that nobody sees before the last one.
--
-- KEYS[1]   ledger:{p}
-- ARGV[1]   the word of this restore: another one's parts are never mixed with ours
-- ARGV[2]   'begin', 'part', or 'end' (the last part)
-- ARGV[3]   what the part holds, see changes.lua: a head in the last one only ('begin' has none of it)
--
-- Reply: 1.
-- Error: OUTOFSTEP <seq> when 'begin' finds a view, or a later part does not find this restore under way.
-- Invariant: while ledger:{p} says `restoring`, apply refuses, and it has no seq; a wipe that comes between deletes it,
-- and ends the restore with it.
if ARGV[2] == 'begin' then
  if call('EXISTS', KEYS[1]) == 1 then
    return redis.error_reply('OUTOFSTEP ' .. (call('HGET', KEYS[1], 'seq') or '0'))
  end
  call('HSET', KEYS[1], 'restoring', ARGV[1])
  return 1
end
if call('HGET', KEYS[1], 'restoring') ~= ARGV[1] then
  return redis.error_reply('OUTOFSTEP ' .. (call('HGET', KEYS[1], 'seq') or '0'))
end
changes(KEYS[1], ARGV[3])
if ARGV[2] == 'end' then
  call('HDEL', KEYS[1], 'restoring')
end
return 1
