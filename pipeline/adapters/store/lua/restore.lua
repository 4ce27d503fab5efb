-- restore(p): fill a wiped view with a snapshot, in parts that nobody sees before the last one.
--
-- KEYS[1]      ledger:{p}
-- KEYS[2...]   one key for each change below, in their order
-- ARGV[1]      the word of this restore: another one's parts are never mixed with ours
-- ARGV[2]      'begin' (no keys), 'part', or 'end' (the last part)
-- ARGV[3]      number of fields of ledger:{p} (0 but for 'end'), ARGV[4...] those fields and values, seq among them
-- then for each of KEYS[2...]: what, expiry, n, n values, as in apply.lua
--
-- Reply: 1.
-- Error: OUTOFSTEP <seq> when 'begin' finds a view, or a later part does not find this restore under way.
-- Invariant: while ledger:{p} says `restoring`, apply refuses, and it has no seq; a wipe that comes between deletes it,
-- and ends the restore with it.
if ARGV[2] == 'begin' then
  if redis.call('EXISTS', KEYS[1]) == 1 then
    return redis.error_reply('OUTOFSTEP ' .. (redis.call('HGET', KEYS[1], 'seq') or '0'))
  end
  redis.call('HSET', KEYS[1], 'restoring', ARGV[1])
  return 1
end
if redis.call('HGET', KEYS[1], 'restoring') ~= ARGV[1] then
  return redis.error_reply('OUTOFSTEP ' .. (redis.call('HGET', KEYS[1], 'seq') or '0'))
end
local head = tonumber(ARGV[3])
local arg = 3 + 2 * head
for key = 2, #KEYS do
  local what, expiry, n = ARGV[arg + 1], ARGV[arg + 2], tonumber(ARGV[arg + 3])
  if what == 'set' then
    redis.call('HSET', KEYS[key], unpack(ARGV, arg + 4, arg + 3 + n))
  else
    redis.call('SADD', KEYS[key], unpack(ARGV, arg + 4, arg + 3 + n))
  end
  if expiry ~= '0' then
    redis.call('EXPIREAT', KEYS[key], expiry)
  end
  arg = arg + 3 + n
end
if ARGV[2] == 'end' then
  redis.call('HSET', KEYS[1], unpack(ARGV, 4, 3 + 2 * head))
  redis.call('HDEL', KEYS[1], 'restoring')
end
return 1
