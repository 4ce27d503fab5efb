-- apply(p): the events first..last become visible, once.
--
-- KEYS[1]      ledger:{p}
-- ARGV[1..2]   first seq, last seq
-- ARGV[3]      hash of event first - 1 ('' where there is none)
-- ARGV[4]      what changes, see changes.lua
--
-- Reply: 1 applied, 0 it was there already.
-- Error: OUTOFSTEP <seq> when the view stands neither at first - 1, with that hash, nor at last or beyond.
-- Invariant: absolute values only, so a run broken half way is repaired by a repeat; seq comes last.
local seq = call('HGET', KEYS[1], 'seq') or '0'
local at = tonumber(seq)
if at >= tonumber(ARGV[2]) then
  return 0
end
if at == 0 and call('HEXISTS', KEYS[1], 'restoring') == 1 then
  return redis.error_reply('OUTOFSTEP 0') -- a snapshot is being put in: see restore.lua
end
if at ~= tonumber(ARGV[1]) - 1 or (at > 0 and call('HGET', KEYS[1], 'hash') ~= ARGV[3]) then
  return redis.error_reply('OUTOFSTEP ' .. seq)
end
changes(KEYS[1], ARGV[4])
return 1
