-- load(p): what a batch needs to know, if the view stands where the owner believes.
--
-- KEYS[1]      ledger:{p}
-- KEYS[2...]   account keys, then session keys, then one kept key for each kept field asked, then one seen key a record
-- ARGV[1]      seq the owner believes in
-- ARGV[2..4]   number of account keys, session keys, kept fields
-- ARGV[5...]   the kept fields, then two numbers for each seen key
--
-- Reply: {fields of account 1, ..., fields of session 1, ..., kept value 1, ..., {0|1, 0|1} for seen key 1, ...}
-- Error: OUTOFSTEP <seq> when the view stands elsewhere.
-- Invariant: reads only.
local seq = redis.call('HGET', KEYS[1], 'seq') or '0'
if seq ~= ARGV[1] then
  return redis.error_reply('OUTOFSTEP ' .. seq)
end
local accounts, sessions, kept = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local reply = {}
local key = 1
for _ = 1, accounts + sessions do
  key = key + 1
  reply[key - 1] = redis.call('HGETALL', KEYS[key])
end
local arg = 4
for _ = 1, kept do
  key = key + 1
  arg = arg + 1
  reply[key - 1] = redis.call('HGET', KEYS[key], ARGV[arg])
end
while key < #KEYS do
  key = key + 1
  reply[key - 1] = redis.call('SMISMEMBER', KEYS[key], ARGV[arg + 1], ARGV[arg + 2])
  arg = arg + 2
end
return reply
