// A large memory as secateur.technology.portable describes it, without initial contents.
module bare_memory #(
    parameter WIDTH = 1,
    parameter WORDS = 2
) (
    input wire clk,
    input wire read_enable,
    input wire [$clog2(WORDS)-1:0] read_address,
    output reg [WIDTH-1:0] read_word,
    input wire [$clog2(WORDS)-1:0] write_address,
    input wire [WIDTH-1:0] write_word,
    input wire write_enable
);
    reg [WIDTH-1:0] words [0:WORDS-1];
    reg [WIDTH-1:0] early;
    always @(posedge clk) begin
        if (read_enable) begin
            early <= words[read_address];
            read_word <= early;
        end
        if (write_enable) words[write_address] <= write_word;
    end
endmodule
