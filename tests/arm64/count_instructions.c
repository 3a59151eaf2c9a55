// A plugin of QEMU's user mode that prints how many instructions a program executed, to stderr when it ends.
//
//     qemu-aarch64 -plugin count_instructions.so ...
//
// Each translated block adds its length each time it runs. A block that is left half-way, by a fault or a signal,
// counts as whole: the programs counted here have neither. One thread: the sum is not atomic.
//
// Debian 12 has no package with QEMU's header: what is used of the plugin API (version 1, docs/devel/tcg-plugins.rst)
// is declared here.
#include <inttypes.h>
#include <stdio.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

#define EXPORTED __attribute__((visibility("default")))

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*translated)(qemu_plugin_id_t id, struct qemu_plugin_tb* block));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* block, enum qemu_plugin_op op, void* counter,
                                              uint64_t amount);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*ended)(qemu_plugin_id_t id, void* context),
                                    void* context);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);

// What QEMU looks for.
EXPORTED extern int qemu_plugin_version;
EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc, char** argv);

int qemu_plugin_version = 1;

static uint64_t executed;

static void on_translated(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &executed,
                                             qemu_plugin_tb_n_insns(block));
}

static void on_end(qemu_plugin_id_t id, void* context) {
    (void)id;
    (void)context;
    (void)fprintf(stderr, "%" PRIu64 "\n", executed);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc, char** argv) {
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
