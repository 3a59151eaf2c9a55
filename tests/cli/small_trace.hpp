// A trace small enough to know its page tables by heart: one BO of two 2 MiB leaves, and a sparse map that cuts the first.
//
//     VA     0x4000'0000                                0x4020'0000           0x4040'0000
//     line 6      |=============== 2M leaf =================|====== 2M leaf ======|     BO 1, "Atlas"
//     line 7      |  4K pages  |  sparse 64 KiB | 4K pages  |====== 2M leaf ======|
//                         0x4001'0000      0x4002'0000
#pragma once

namespace granule::test {

inline constexpr const char* kSmallTrace =
    R"jsonl({"meta":{"format":"pan-mm-trace/1","gpu":"Mali-G610 (0xa867, panthor)","mesa":"26.2.6","kernel_uapi":"panthor 1.9","name":"small","processes":1}}
{"t":2,"th":1,"f":1,"c":"drm.open","drv":"panthor","ver":"1.9"}
{"t":3,"th":1,"f":1,"c":"panthor.vm_create","flags":0,"user_va_range":140737488355328,"vm":1}
{"t":4,"th":1,"f":1,"c":"panthor.bo_create","req":4194304,"size":4194304,"flags":0,"vm":1,"h":1}
{"t":5,"th":1,"f":1,"c":"panthor.bo_set_label","h":1,"label":"Atlas"}
{"t":6,"th":1,"f":1,"c":"panthor.vm_bind","vm":1,"async":0,"ops":[{"op":"map","va":1073741824,"size":4194304,"h":1,"off":0,"fl":"N"}]}
{"t":7,"th":1,"f":1,"c":"panthor.vm_bind","vm":1,"async":0,"ops":[{"op":"map","va":1073807360,"size":65536,"h":0,"off":0,"fl":"NS"}]}
{"t":8,"th":1,"f":1,"c":"panthor.vm_bind","vm":1,"async":0,"ops":[{"op":"unmap","va":1073741824,"size":4194304}]}
{"t":9,"th":1,"f":1,"c":"drm.gem_close","h":1}
{"t":10,"th":1,"f":1,"c":"panthor.vm_destroy","vm":1}
{"t":11,"th":1,"f":1,"c":"drm.close_fd","left":0}
)jsonl";

}  // namespace granule::test
