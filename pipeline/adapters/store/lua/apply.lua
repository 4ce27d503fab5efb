-- apply(p): the events first..last become visible, once.
--
-- KEYS[1]      ledger:{p}
-- KEYS[2...]   one key for each change below, in their order
-- ARGV[1..2]   first seq, last seq
-- ARGV[3]      hash of event first - 1 ('' where there is none)
-- ARGV[4]      number of fields of ledger:{p}, ARGV[5...] those fields and values, seq among them
-- then for each of KEYS[2...]: what, expiry, n, n values
--   what    'set' (hash fields and values), 'del' (hash fields), 'add' (set members), 'new' (the key goes; n is 0)
--   expiry  seconds since 1970, or '0' for none
--
-- Reply: 1 applied, 0 it was there already.
-- Error: OUTOFSTEP <seq> when the view stands neither at first - 1, with that hash, nor at last or beyond.
-- Invariant: absolute values only, so a run broken half way is repaired by a repeat; seq comes last.
local seq = redis.call('HGET', KEYS[1], 'seq') or '0'
local at = tonumber(seq)
if at >= tonumber(ARGV[2]) then
  return 0
end
if at == 0 and redis.call('HEXISTS', KEYS[1], 'restoring') == 1 then
  return redis.error_reply('OUTOFSTEP 0') -- a snapshot is being put in: see restore.lua
end
if at ~= tonumber(ARGV[1]) - 1 or (at > 0 and redis.call('HGET', KEYS[1], 'hash') ~= ARGV[3]) then
  return redis.error_reply('OUTOFSTEP ' .. seq)
end
local head = tonumber(ARGV[4])
local arg = 4 + 2 * head
-- one change never has more values than unpack can hand over: the caller cuts them at 1000
for key = 2, #KEYS do
  local what, expiry, n = ARGV[arg + 1], ARGV[arg + 2], tonumber(ARGV[arg + 3])
  if what == 'set' then
    redis.call('HSET', KEYS[key], unpack(ARGV, arg + 4, arg + 3 + n))
  elseif what == 'add' then
    redis.call('SADD', KEYS[key], unpack(ARGV, arg + 4, arg + 3 + n))
  elseif what == 'new' then
    redis.call('DEL', KEYS[key])
  else
    redis.call('HDEL', KEYS[key], unpack(ARGV, arg + 4, arg + 3 + n))
  end
  if expiry ~= '0' then
    redis.call('EXPIREAT', KEYS[key], expiry)
  end
  arg = arg + 3 + n
end
redis.call('HSET', KEYS[1], unpack(ARGV, 5, 4 + 2 * head))
return 1
