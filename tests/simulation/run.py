import sys, time
sys.path.insert(0, __file__.rsplit("/", 1)[0])
import sim_world
from collections import Counter
t=time.process_time(); rows=Counter(); ev=0; bad=0
a,b=int(sys.argv[1]),int(sys.argv[2])
for s in range(a,b):
    r=sim_world.simulate(s, traced=len(sys.argv)>3); rows+=r.rows; ev+=r.events
    if r.violations:
        bad+=1
        if bad<6: print(s, r.violations[:3])
    if len(sys.argv)>3: print("\n".join(r.trace))
print(bad, (time.process_time()-t)/(b-a)*1000, "ms/seed", ev/(b-a)); print(rows.most_common())
