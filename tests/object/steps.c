/* Runs steps.fgi step by step and writes its outputs: main RESULTS. */

#include <stdio.h>
#include <stdlib.h>

#include "steps.h"

enum { STEPS = 6 };

int main(int count, char **arguments) {
    steps_state state = steps_initial_state;
    size_t bytes = steps_workspace_bytes(1);
    void *workspace = malloc(bytes);
    FILE *results = count == 2 ? fopen(arguments[1], "wb") : NULL;
    if (workspace == NULL || results == NULL) return 1;
    for (int step = 0; step < STEPS; step += 1) {
        float x[2][3];
        for (int at = 0; at < 6; at += 1) x[at / 3][at % 3] = (float)((step * 6 + at) * 7 % 11) / 4 - 1;
        steps_inputs inputs = {&x[0][0]};
        steps_outputs outputs;
        if (steps_forward(1, &inputs, &steps_initial_params, &state, &outputs, workspace) != STEPS_OK) return 2;
        if (fwrite(outputs.y, sizeof(float), 8, results) != 8) return 3;
        if (fwrite(outputs.runs, sizeof(int32_t), 1, results) != 1) return 3;
        if (steps_update(1, &(steps_params){0}, &state, workspace) != STEPS_OK) return 4;
    }
    return fclose(results);
}
