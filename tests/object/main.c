/* Trains net.fgi and writes all that it computes: main BATCHES RESULTS. A batch is its sizes B and T (int64_t), the
 * pixels and the labels; a result the loss, the logits and the classes, then the gradients. At the end come the
 * parameters and the optimiser's memory. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

enum { PIXELS = 7, CLASSES = 10 };

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void *allocate(size_t bytes) {
    void *memory = malloc(bytes);
    if (memory == NULL) fail("no memory");
    memset(memory, 0xff, bytes);
    return memory;
}

static void read_all(FILE *file, void *to, size_t bytes) {
    if (fread(to, 1, bytes, file) != bytes) fail("the batches end early");
}

static void write_all(FILE *file, const void *from, size_t bytes) {
    if (fwrite(from, 1, bytes, file) != bytes) fail("the results cannot be written");
}

/* Sizes and pointers that cannot be are refused before anything is touched. */
static void check_refusals(const net_params *params) {
    net_inputs inputs = {NULL, NULL};
    net_outputs outputs;
    char workspace[1];
    if (net_workspace_bytes(0, 3) != 0 || net_workspace_bytes(3, -1) != 0) fail("sizes below 1");
    if (net_workspace_bytes((int64_t)1 << 31, 1) != 0) fail("a size beyond an i32");
    if (net_workspace_bytes(1 << 30, 1 << 30) != 0) fail("a size beyond all memory");
    if (net_forward(2, 3, &inputs, params, &outputs, NULL) != NET_NO_POINTER) fail("no workspace");
    if (net_forward(2, 3, &inputs, params, &outputs, workspace) != NET_NO_POINTER) fail("no pixels");
    inputs.pixels = params->h_w_in[0];
    inputs.label = (const int32_t *)workspace;
    if (net_forward(2, 0, &inputs, params, &outputs, workspace) != NET_BAD_SIZE) fail("no steps");
}

static void train(FILE *batches, FILE *results, net_params *params, net_state *state) {
    int64_t sizes[2];
    int64_t step = 0;
    while (fread(sizes, sizeof sizes, 1, batches) == 1) {
        const int64_t B = sizes[0], T = sizes[1];
        const size_t pixels = sizeof(float) * (size_t)(T * B * PIXELS), labels = sizeof(int32_t) * (size_t)B;
        float *x = allocate(pixels);
        int32_t *label = allocate(labels);
        void *workspace = allocate(net_workspace_bytes(B, T));
        net_inputs inputs = {x, label};
        net_outputs outputs;
        net_grads grads;
        read_all(batches, x, pixels);
        read_all(batches, label, labels);
        if (net_forward(B, T, &inputs, params, &outputs, workspace) != NET_OK) fail("forward");
        if (net_backward(B, T, &inputs, params, &grads, workspace) != NET_OK) fail("backward");
        if (net_update(B, T, params, state, 0.01f, ++step, workspace) != NET_OK) fail("update");
        write_all(results, outputs.loss, sizeof(float));
        write_all(results, outputs.logits, sizeof(float) * (size_t)(B * CLASSES));
        write_all(results, outputs.class_, sizeof(int32_t) * (size_t)B);
        write_all(results, grads.double_, sizeof params->double_);
        write_all(results, grads.h_w_in, sizeof params->h_w_in);
        write_all(results, grads.h_w_rec, sizeof params->h_w_rec);
        write_all(results, grads.h_tau, sizeof params->h_tau);
        write_all(results, grads.readout_1_w, sizeof params->readout_1_w);
        write_all(results, grads.readout_1_b, sizeof params->readout_1_b);
        write_all(results, grads.pixels, pixels);
        free(workspace);
        free(label);
        free(x);
    }
}

int main(int argc, char **argv) {
    static net_params params;
    static net_state state;
    FILE *batches = argc == 3 ? fopen(argv[1], "rb") : NULL;
    FILE *results = argc == 3 ? fopen(argv[2], "wb") : NULL;
    if (batches == NULL || results == NULL) fail("usage: main BATCHES RESULTS");
    params = net_initial_params;
    state = net_initial_state;
    check_refusals(&params);
    train(batches, results, &params, &state);
    write_all(results, &params, sizeof params);
    write_all(results, &state, sizeof state);
    return fclose(results) == 0 ? 0 : 1;
}
